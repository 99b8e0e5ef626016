from vmax.commands.flow import main

main()

from vmax.commands.wear import main

main()

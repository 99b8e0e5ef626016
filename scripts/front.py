from vmax.commands.front import main

main()

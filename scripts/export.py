from vmax.commands.export import main

main()

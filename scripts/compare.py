from vmax.commands.compare import main

main()

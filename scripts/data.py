from vmax.commands.data import main

main()

from vmax.commands.check import main

main()

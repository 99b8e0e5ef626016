from vmax.commands.reproduce import main

main()

from vmax.commands.evaluate import main

main()

from vmax.commands.train import main

main()

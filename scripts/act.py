from vmax.commands.act import main

main()

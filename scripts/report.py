from vmax.commands.report import main

main()

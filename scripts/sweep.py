from vmax.commands.sweep import main

main()

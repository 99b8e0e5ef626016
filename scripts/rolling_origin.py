from vmax.commands.rolling_origin import main

main()

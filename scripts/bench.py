from vmax.commands.bench import main

main()

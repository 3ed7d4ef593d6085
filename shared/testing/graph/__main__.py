from shared.testing.graph.cli import main

main()

module eventhub/benchmarks/fanout/load

go 1.23

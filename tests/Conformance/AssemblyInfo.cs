// There is one real machine: its devices change drivers during a test.
[assembly: Xunit.CollectionBehavior(DisableTestParallelization = true)]

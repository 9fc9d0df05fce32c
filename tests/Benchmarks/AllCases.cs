namespace Benchmarks;

/// <summary>Every case; what several need is made when the first of them is wanted.</summary>
internal sealed class AllCases : IDisposable
{
    private readonly List<IDisposable> _made = [];
    private LibraryCases? _library;
    private NvmeCases? _nvme;
    private GrowthCases? _growth;
    private MappedCases? _mapped;
    private FlowCases? _flows;

    public IEnumerable<Case> InOrder() => new HardwareCases().All()
        .Concat(LibraryCases.All(() => _library ??= Keep(new LibraryCases())))
        .Concat(NvmeCases.All(() => _nvme ??= Keep(new NvmeCases())))
        .Concat(ThreadCases.All())
        .Concat(MappedCases.All(() => _mapped ??= Keep(new MappedCases())))
        .Concat(GrowthCases.All(() => _growth ??= Keep(new GrowthCases())))
        .Concat(FlowCases.OnSimulator(() => _flows ??= Keep(FlowCases.Simulated())))
        .OrderBy(one => one.Row);

    public void Dispose() => _made.ForEach(one => one.Dispose());

    private T Keep<T>(T made)
        where T : IDisposable
    {
        _made.Add(made);
        return made;
    }
}

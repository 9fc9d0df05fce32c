namespace HwSim.Tests.Kernel.Rfc;

/// <summary>A test on a machine of its own, with one open /dev/iommu of the proposal.</summary>
public abstract class RfcTest : IDisposable
{
    private protected const ulong Page = RfcMachine.Page;
    private protected readonly RfcMachine _machine = new();
    private protected readonly int _iommu;

    protected RfcTest() => _iommu = _machine.OpenIommu();

    public void Dispose()
    {
        _machine.Dispose();
        GC.SuppressFinalize(this);
    }
}

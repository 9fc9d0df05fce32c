namespace HwSim.Tests.Judges.Qemu;

/// <summary>One of QEMU's machines with an IOMMU in front of edu devices: how its PCI configuration space is reached and where things are.</summary>
public sealed class JudgeMachine : IDisposable
{
    private readonly QemuProcess _qemu;
    private readonly ulong _ecam;

    private JudgeMachine(QemuProcess qemu, ulong ecam, ulong ramBase, ulong bars, int edus)
    {
        _qemu = qemu;
        _ecam = ecam;
        RamBase = ramBase;
        Edus = [.. Enumerable.Range(3, edus).Select(slot => new EduDriver(this, slot, bars + ((ulong)(slot - 3) << 20)))];
    }

    public QtestClient Qtest => _qemu.Qtest;

    /// <summary>First address of RAM.</summary>
    public ulong RamBase { get; }

    /// <summary>The edu devices, at slots 3, 4, ... of bus 0, ready for DMA.</summary>
    public IReadOnlyList<EduDriver> Edus { get; }

    /// <summary>q35 with VT-d; <paramref name="options"/> follow intel-iommu's name. RAM: 0 to 2 GiB and 4 to 6 GiB.</summary>
    public static JudgeMachine Vtd(string options = "") => new(
        new QemuProcess("qemu-system-x86_64", 0xfff0, [0xf4, 0xeb, 0xfd],
            ["-M", "q35,kernel-irqchip=off", "-device", "intel-iommu,aw-bits=48" + options, .. EduArguments(1)]),
        0, 0, 0xe000_0000, 1);

    /// <summary>Arm virt with SMMUv3 at 0x09050000. RAM: 1 to 5 GiB.</summary>
    public static JudgeMachine Smmu(int edus) => new(
        new QemuProcess("qemu-system-aarch64", 0, [0x7f, 0x20, 0x03, 0xd5, 0xff, 0xff, 0xff, 0x17],
            ["-M", "virt,iommu=smmuv3", "-cpu", "cortex-a57", .. EduArguments(edus)]),
        0x40_1000_0000, 0x4000_0000, 0x1000_0000, edus);

    /// <summary>RISC-V virt with the IOMMU as a platform device at 0x03010000. RAM: 2 to 6 GiB.</summary>
    public static JudgeMachine RiscV(int edus, bool ioTlb) => new(
        new QemuProcess("qemu-system-riscv64", 0, [0x73, 0x00, 0x50, 0x10, 0x6f, 0xf0, 0xdf, 0xff],
            ["-M", "virt,iommu-sys=on", .. ioTlb ? (string[])[] : ["-global", "riscv-iommu-device.ioatc-limit=0"], .. EduArguments(edus)]),
        0x3000_0000, 0x8000_0000, 0x4000_0000, edus);

    public void Dispose() => _qemu.Dispose();

    internal void WriteConfig(int slot, int offset, uint value)
    {
        if (_ecam != 0)
        {
            Qtest.Write(4, _ecam + ((ulong)slot << 15) + (ulong)offset, value);
            return;
        }

        Qtest.Out32(0xcf8, 0x8000_0000 | ((uint)slot << 11) | (uint)offset);
        Qtest.Out32(0xcfc, value);
    }

    // The address of a device is read as hexadecimal.
    private static IEnumerable<string> EduArguments(int edus) =>
        Enumerable.Range(3, edus).SelectMany(slot => (string[])["-device", $"edu,addr={slot:x},dma_mask=0xffffffffffffffff"]);
}

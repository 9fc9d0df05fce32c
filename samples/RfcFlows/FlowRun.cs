using System.Buffers.Binary;
using System.Globalization;
using IommuFd;
using IommuFd.Sysfs;

namespace RfcFlows;

/// <summary>One step that a flow took.</summary>
/// <param name="Call">The proposal's command.</param>
/// <param name="Text">With what, and what came of it.</param>
/// <param name="Tables">How tables translate now, where the machine can show that.</param>
public sealed record FlowStep(string Call, string Text, IReadOnlyList<string> Tables);

/// <summary>What a device's DMA saw.</summary>
/// <param name="Device">The device's name in the flow.</param>
/// <param name="Pasid">The PASID of the request, or null.</param>
/// <param name="Iova">Where it read.</param>
/// <param name="Data">What it read; null when the DMA was refused.</param>
public sealed record FlowTranslation(string Device, uint? Pasid, ulong Iova, ulong? Data);

/// <summary>A device of a flow.</summary>
/// <param name="Name">Its name in the flow.</param>
/// <param name="Device">The device.</param>
/// <param name="Probe">Its DMA.</param>
public sealed record FlowDevice(string Name, BoundDevice Device, IDmaProbe Probe);

/// <summary>A flow's DMA saw something else than it should have.</summary>
#pragma warning disable CA1032 // made in one place
public sealed class FlowException(string message) : Exception(message);
#pragma warning restore CA1032

/// <summary>
/// One run of a flow: the library's calls, each narrated in the proposal's words, and the proof by DMA. What it made is released with it.
/// </summary>
public sealed partial class FlowRun : IDisposable
{
    /// <summary>A page at the same place in every space, through which a device tells what it read.</summary>
    internal const ulong Mailbox = 0x1f_f000;

    /// <summary>Where memory is plugged in while the guest runs.</summary>
    internal const ulong HotPlugged = 0x40_0000;

    private const ulong RamLength = 0x20_0000, MoreRamLength = 0x1_0000, Mark = 0x5246_4300_0000_0000, MoreMark = 0x5246_4301_0000_0000;

    private readonly Stack<IDisposable> _owned = new();
    private readonly Dictionary<AddressSpace, string> _names = [];
    private readonly List<FlowStep> _steps = [];
    private readonly List<FlowTranslation> _translations = [];
    private readonly Action<FlowStep>? _told;
    private int _devices;

    /// <summary>Prepares the guest's memory: every word of it says where it is.</summary>
    /// <param name="machine">What to run on.</param>
    /// <param name="told">Called for every step as it is done.</param>
    public FlowRun(FlowMachine machine, Action<FlowStep>? told = null)
    {
        ArgumentNullException.ThrowIfNull(machine);
        Machine = machine;
        _told = told;
        Ram = Own(machine.Host.AllocateBuffer(RamLength));
        MoreRam = Own(machine.Host.AllocateBuffer(MoreRamLength));
        Mark64(Ram, Mark);
        Mark64(MoreRam, MoreMark);
    }

    /// <summary>What it runs on.</summary>
    public FlowMachine Machine { get; }

    /// <summary>The steps so far.</summary>
    public IReadOnlyList<FlowStep> Steps => _steps;

    /// <summary>What was seen so far, in order: the same on every kernel interface.</summary>
    public IReadOnlyList<FlowTranslation> Translations => _translations;

    /// <summary>The interface that the flow ran on.</summary>
    public ContextKind? Kind { get; private set; }

    /// <summary>2 MiB of guest memory.</summary>
    internal DmaBuffer Ram { get; }

    /// <summary>Guest memory that is plugged in later.</summary>
    internal DmaBuffer MoreRam { get; }

    /// <summary>What is in <see cref="Ram"/>.</summary>
    internal ulong RamWord(ulong address) => BinaryPrimitives.ReadUInt64LittleEndian(Ram.Slice(address, 8));

    /// <summary>What is in <see cref="MoreRam"/>.</summary>
    internal ulong MoreRamWord(ulong address) => BinaryPrimitives.ReadUInt64LittleEndian(MoreRam.Slice(address, 8));

    /// <inheritdoc/>
    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    internal IommuContext Open()
    {
        IommuContext context = Own(Machine.Host.OpenContext(Machine.Kind));
        Kind = context.Kind;
        Step("open", $"{(Kind == ContextKind.Container ? "/dev/vfio/vfio" : "/dev/iommu")}: {Kind}");
        return context;
    }

    internal FlowDevice Bind(IommuContext context, PciAddress address, ulong cookie)
    {
        ulong at = Mailbox + (0x100 * (ulong)_devices++);
        VfioDeviceFile file = Own(Machine.Host.OpenDevice(address));
        BoundDevice device = Own(file.Bind(context, cookie));
        IDmaProbe probe = Own(Machine.Probe?.Invoke(device) ?? DmaProbe.Open(device, Ram.Memory.Slice((int)at, 16), at));
        string name = address == Machine.Device2 ? "dev2" : "dev1";
        Step("VFIO_BIND_IOMMU_FD", $"{name} = {address}, cookie 0x{cookie:x}: in block-DMA, nothing is reached");
        return new FlowDevice(name, device, probe);
    }

    internal IoAddressSpace Allocate(IommuContext context, string name)
    {
        IoAddressSpace space = Own(context.CreateAddressSpace());
        _names[space] = name;
        Step("IOMMU_IOASID_ALLOC", $"{name} = root{Id(space)}, table of the kernel");
        return space;
    }

    internal ChildAddressSpace AllocateChild(MappedAddressSpace parent, string name)
    {
        ChildAddressSpace space = Own(parent.CreateChild());
        _names[space] = name;
        Step("IOMMU_IOASID_ALLOC", $"{name} = child of {_names[parent]}{Id(space)}, table of the kernel, merged with its parent's");
        return space;
    }

    internal Attachment Attach(FlowDevice device, AddressSpace space, uint? pasid = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        Attachment attachment = Own(device.Device.Attach(space, pasid));
        Step("VFIO_ATTACH_IOASID", $"{device.Name}{Pasid(pasid)} to "
            + $"{_names[space]}{(attachment.TableId == 0 ? "" : $", page table {attachment.TableId} in effect")}");
        return attachment;
    }

    internal void Detach(FlowDevice device, Attachment attachment)
    {
        attachment.Dispose();
        Step("VFIO_DETACH_IOASID", $"{device.Name}{Pasid(attachment.Pasid)} from {_names[attachment.Space!]}");
    }

    internal Mapping Map(IoAddressSpace space, DmaBuffer memory, ulong iova, ulong offset = 0, ulong? length = null)
    {
        Mapping mapping = Own(space.Map(memory, offset, length ?? memory.Length, DmaAccess.ReadWrite, iova));
        Step("IOMMU_MAP_DMA", $"{_names[space]}: 0x{iova:x} -> process address 0x{(ulong)memory.Address + offset:x}, 0x{mapping.Length:x} bytes");
        return mapping;
    }

    internal NestedMapping Map(ChildAddressSpace space, ulong iova, ulong parentIova, ulong length)
    {
        NestedMapping mapping = Own(space.Map(iova, parentIova, length, DmaAccess.ReadWrite));
        Step("IOMMU_MAP_DMA", $"{_names[space]}: 0x{iova:x} -> {_names[space.Parent!]} 0x{parentIova:x}, 0x{length:x} bytes");
        return mapping;
    }

    internal void Unmap(IoAddressSpace space, Mapping mapping)
    {
        mapping.Dispose();
        Step("IOMMU_UNMAP_DMA", $"{_names[space]}: 0x{mapping.Iova:x}, 0x{mapping.Length:x} bytes");
    }

    internal void Sees(FlowDevice device, ulong iova, ulong expected, uint? pasid = null) => Read(device, iova, pasid, expected);

    internal void SeesNothing(FlowDevice device, ulong iova, uint? pasid = null) => Read(device, iova, pasid, null);

    private void Read(FlowDevice device, ulong iova, uint? pasid, ulong? expected)
    {
        device.Probe.Begin(iova, pasid);
        Check(device, iova, pasid, expected);
    }

    private void Check(FlowDevice device, ulong iova, uint? pasid, ulong? expected)
    {
        ulong? data = device.Probe.End();
        _translations.Add(new FlowTranslation(device.Name, pasid, iova, data));
        string seen = data is { } word ? $"0x{word:x}" : "nothing";
        Step("DMA", $"{device.Name}{Pasid(pasid)} reads 0x{iova:x}: {seen}",
            device.Device.Address is { } address ? Machine.Walk?.Invoke(address, pasid, iova) : null);
        if (data != expected)
        {
            throw new FlowException(
                $"{device.Name}{Pasid(pasid)} saw {seen} at IOVA 0x{iova:x}, and should have seen "
                + $"{(expected is { } wanted ? $"0x{wanted:x}" : "nothing")}.");
        }
    }

    private void Step(string call, string text, IReadOnlyList<string>? tables = null)
    {
        FlowStep step = new(call, text, tables ?? []);
        _steps.Add(step);
        _told?.Invoke(step);
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Push(owned);
        return owned;
    }

    private static string Id(MappedAddressSpace space) => space.Id == 0 ? "" : $" (id {space.Id})";

    private static string Pasid(uint? pasid) => pasid is { } number ? string.Create(CultureInfo.InvariantCulture, $" PASID {number}") : "";

    private static void Mark64(DmaBuffer memory, ulong mark)
    {
        for (ulong at = 0; at < memory.Length; at += 8)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(memory.Slice(at, 8), mark | at);
        }
    }
}

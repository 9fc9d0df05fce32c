using System.Text.RegularExpressions;
using Guide;
using IommuFd.HwSim;
using IommuFd.HwSim.Devices.Pasid;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>docs/guide.md: what it quotes is in the samples, and the samples do what it says.</summary>
public sealed partial class GuideTests
{
    [Fact]
    public void Every_program_in_the_guide_is_in_the_sample_that_it_names()
    {
        Assert.SkipWhen(Repository.Root is null, "the sources are not here");
        string guide = File.ReadAllText(Path.Combine(Repository.Root!, "docs/guide.md"));
        MatchCollection quotations = QuotationPattern().Matches(guide);
        Assert.Equal(Regex.Count(guide, "^```csharp", RegexOptions.Multiline), quotations.Count);
        foreach (Match quotation in quotations)
        {
            string source = File.ReadAllText(Path.Combine(Repository.Root!, quotation.Groups[1].Value));
            Assert.Contains(WithoutIndentation(quotation.Groups[2].Value), WithoutIndentation(source), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_chapters_on_edu_do_what_they_say()
    {
        using Simulated machine = new();
        Assert.StartsWith("register 0: 0x010000ed, buffer at IOVA 0x", TwentyLines.Run(machine.Host), StringComparison.Ordinal);
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using IoAddressSpace space = context.CreateAddressSpace();
        using Attachment attachment = device.Attach(space);
        using DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        using Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
        using ConfigSpace config = device.OpenConfigSpace();
        config.EnableBusMaster();
        using Bar bar = device.OpenBar(0);
        Assert.Equal("through the device", FirstDma.Run(bar, buffer, mapping));
        Assert.Equal(3628800u, await FirstInterrupt.RunAsync(device, bar, 10, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_device_that_asks_for_pages_gets_them()
    {
        PciAddress address = PciAddress.Parse("0000:00:08.0");
        using SimulatedHost machine = new(Topology.ByName("intel-scalable"));
        using IommuHost host = IommuHost.Over(machine);
        DriverBinder binder = new(machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci)));
        using IommuContext context = host.OpenContext();
        using BoundDevice device = host.OpenDevice(address).Bind(context, cookie: 1);
        using ConfigSpace config = device.OpenConfigSpace();
        config.EnableBusMaster();
        using Bar bar = device.OpenBar(0);
        using DmaBuffer memory = host.AllocateBuffer(8 * 4096);
        using CancellationTokenSource end = new(TimeSpan.FromSeconds(20));
        Task serving = PageRequests.ServeAsync(context, device, memory, Begin, end.Token);
        for (int tries = 0; tries < 5000 && bar.Read32(PasidRegister.Status) is not ((uint)PasidStatus.Done); tries++)
        {
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }

        Assert.Equal(0x5eedul, memory.At<ulong>(0x10));
        await end.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => serving);

        void Begin()
        {
            bar.Write64(PasidDevice.Buffers, 0x5eed);
            bar.Write32(PasidRegister.Pasid, 1u << 31 | 1);
            bar.Write32(PasidRegister.Control, 3);
            bar.Write64(PasidRegister.Iova, 0x7000_0010);
            bar.Write32(PasidRegister.Length, 8);
            bar.Write32(PasidRegister.Command, (uint)PasidCommand.Write);
        }
    }

    [Fact]
    public void The_device_sees_what_the_guest_mapped()
    {
        using Simulated machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using DmaBuffer memory = machine.Host.AllocateBuffer(0x4000);
        using ConfigSpace config = device.OpenConfigSpace();
        config.EnableBusMaster();
        using Bar bar = device.OpenBar(0);
        memory.At<uint>(0x1000) = 0xfeed;
        SoftwareNesting.Run(context, device, memory, () =>
        {
            Move(bar, 0x2000, 0x40000, 1);
            Move(bar, 0x40000, 0x2010, 3);
        });
        Assert.Equal(0xfeedu, memory.At<uint>(0x1010));

        static void Move(Bar bar, ulong source, ulong destination, ulong command)
        {
            bar.Write64(0x80, source);
            bar.Write64(0x88, destination);
            bar.Write64(0x90, 4);
            bar.Write64(0x98, command);
            _ = bar.Read64(0x98);
        }
    }

    private static string WithoutIndentation(string text) => IndentationPattern().Replace(text, "");

    [GeneratedRegex("^<!-- (samples/\\S+) -->\n```csharp\n(.*?)\n```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex QuotationPattern();

    [GeneratedRegex("^[ ]+", RegexOptions.Multiline)]
    private static partial Regex IndentationPattern();
}

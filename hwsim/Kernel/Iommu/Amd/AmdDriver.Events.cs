using System.Globalization;
using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>The event log (AMD I/O Virtualization Technology specification, 2.5) as lines of the kernel's log.</summary>
internal sealed partial class AmdDriver : IInterruptController
{
    private const ulong EventMessage = 0xfee0_2000;

    /// <inheritdoc/>
    public void Message(ushort requesterId, ulong address, uint data)
    {
        if (address == EventMessage)
        {
            HandleEvents();
        }
    }

    // Called by the unit, which is locked: events come one after the other.
    private void HandleEvents()
    {
        const ulong LogInterrupt = 2, Bytes = 16 << RingLg2;
        Unit.WriteRegister(AmdRegister.STATUS, 8, LogInterrupt);
        var head = Unit.ReadRegister(AmdRegister.EVT_HEAD, 8);
        for (; head != Unit.ReadRegister(AmdRegister.EVT_TAIL, 8); head = (head + 16) % Bytes)
        {
            _memory.Read64(_events + head, out var low);
            _memory.Read64(_events + head + 8, out var address);
            var code = (AmdEvent)(low >> 60);
            _print?.Invoke(string.Create(
                CultureInfo.InvariantCulture,
                $"AMD-Vi: Event logged [{code} device=0000:{PciName.Of((ushort)low)} domain=0x{low >> 32 & 0xffff:x4} address=0x{address:x} flags=0x{low >> 48 & 0xfff:x4}]"));
        }

        Unit.WriteRegister(AmdRegister.EVT_HEAD, 8, head);
    }
}

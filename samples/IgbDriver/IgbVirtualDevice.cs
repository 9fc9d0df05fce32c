using System.Security.Cryptography;
using IommuFd;
using IommuFd.Sysfs;
using static IgbDriver.IgbRegisters;

namespace IgbDriver;

/// <summary>
/// A driver for a virtual function of the 82576, while the host's own driver has the physical one: it asks that one for an address through the mailbox (data sheet section
/// 7.10.2.9), and the controller's switch carries frames between virtual functions.
/// </summary>
public sealed class IgbVirtualDevice : IgbPort
{
    private const uint Sent = 1, Taken = 2, Holds = 4, MailArrived = 0x10, ResetDone = 0x80;
    private const uint ResetMessage = 1, AddressMessage = 2, Acknowledged = 0x8000_0000, Refused = 0x4000_0000;
    private uint _seen;

    /// <summary>Opens the virtual function, which is bound to a VFIO driver, and introduces it to the physical one.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The virtual function.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    /// <exception cref="TimeoutException">The physical function's driver does not answer: it may not be up.</exception>
    public IgbVirtualDevice(IommuHost host, PciAddress address)
        : base(host, address)
    {
        try
        {
            Stop();
            Await("reset", () => HasHappened(ResetDone));
            Registers.Write32(VectorMaskClear, ~0u);
            Mac = MacOf(Introduce(out uint high), high);
            StartQueues(static () => { });
            Await("the link", () => IsLinkUp);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private protected override void Stop()
    {
        Registers.Write32(Control, Registers.Read32(Control) | Reset);
        Thread.Sleep(2);
    }

    // The words that Linux's drivers of both functions agree on: a reset is answered with an address; without one the virtual function chooses its own.
    private uint Introduce(out uint high)
    {
        uint low = high = 0;
        if (Ask(ResetMessage, ref low, ref high))
            return low;
        Span<byte> random = stackalloc byte[6];
        RandomNumberGenerator.Fill(random);
        low = (BitConverter.ToUInt32(random) | 2) & ~1u; // nobody's, and one station's
        high = BitConverter.ToUInt16(random[4..]);
        uint first = low, second = high;
        return Ask(AddressMessage, ref first, ref second)
            ? low
            : throw new IOException("The physical function's driver refuses the address that the virtual function chose.");
    }

    private bool Ask(uint message, ref uint first, ref uint second)
    {
        Hold();
        Registers.Write32(MailboxMemory + 4, first);
        Registers.Write32(MailboxMemory + 8, second);
        Registers.Write32(MailboxMemory, message);
        Registers.Write32(Mailbox, Sent);
        Await("the mailbox: the physical function's answer", () => HasHappened(MailArrived));
        Hold();
        uint answer = Registers.Read32(MailboxMemory);
        (first, second) = (Registers.Read32(MailboxMemory + 4), Registers.Read32(MailboxMemory + 8));
        Registers.Write32(Mailbox, Taken);
        return (answer & Refused) == 0 && (answer & Acknowledged) != 0;
    }

    private void Hold() => Await("the mailbox", () =>
    {
        Registers.Write32(Mailbox, Holds);
        uint mailbox = Registers.Read32(Mailbox);
        _seen |= mailbox;
        return (mailbox & Holds) != 0;
    });

    // What happened is told once, whoever reads.
    private bool HasHappened(uint bit)
    {
        _seen |= Registers.Read32(Mailbox);
        bool happened = (_seen & bit) != 0;
        _seen &= ~bit;
        return happened;
    }
}

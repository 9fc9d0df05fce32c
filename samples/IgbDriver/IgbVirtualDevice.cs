using System.Security.Cryptography;
using IommuFd;
using IommuFd.Sysfs;
using static IgbDriver.IgbRegisters;

namespace IgbDriver;

/// <summary>
/// A driver for a virtual function of the 82576, while the host's own driver has the physical one: it asks that one for an address through the
/// mailbox (data sheet section
/// 7.10.2.9), and the controller's switch carries frames between virtual functions.
/// </summary>
public sealed class IgbVirtualDevice : IgbPort
{
    private const uint Sent = 1, Taken = 2, Holds = 4, MailArrived = 0x10, ResetDone = 0x80;
    private const uint ResetMessage = 1, AddressMessage = 2, Acknowledged = 0x8000_0000, Refused = 0x4000_0000;
    private const int Attempts = 10;
    private uint _seen;

    /// <summary>Opens the virtual function, which is bound to a VFIO driver, and introduces it to the physical one.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The virtual function.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    /// <exception cref="IOException">Nothing answers at the function's registers, or the physical function's driver refuses or does not
    /// answer.</exception>
    /// <exception cref="TimeoutException">The physical function's driver does not answer: it may not be up.</exception>
    public IgbVirtualDevice(IommuHost host, PciAddress address)
        : base(host, address)
    {
        try
        {
            Stop();
            if (Registers.Read32(Status) == ~0u)
                throw new IOException(
                    "All registers of the virtual function read as ones: nothing answers at the address of its BAR. Look at the windows of the "
                    + "bridges above it.");
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

    // The words that Linux's drivers of both functions agree on: a reset is answered with an address; without one the virtual function chooses its
    // own. The physical function's driver forgets who has introduced himself when it is reset, as it is when its interface comes up: then it refuses,
    // and the introduction begins anew.
    private uint Introduce(out uint high)
    {
        Span<byte> random = stackalloc byte[6];
        RandomNumberGenerator.Fill(random);
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            uint low = high = 0;
            if (Ask(ResetMessage, ref low, ref high))
                return low;
            low = (BitConverter.ToUInt32(random) | 2) & ~1u; // nobody's, and one station's
            high = BitConverter.ToUInt16(random[4..]);
            uint first = low, second = high;
            if (Ask(AddressMessage, ref first, ref second))
                return low;
        }

        throw new IOException("The physical function's driver refuses the address that the virtual function chose.");
    }

    // There is one mailbox for both directions. What the physical function says of itself (its link has come up, it was reset) may take the place of
    // a question that was not read yet, and is no answer: the question is put again. So is one whose answer to an earlier question comes late.
    private bool Ask(uint message, ref uint first, ref uint second)
    {
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            Hold();
            Registers.Write32(MailboxMemory + 4, first);
            Registers.Write32(MailboxMemory + 8, second);
            Registers.Write32(MailboxMemory, message);
            Registers.Write32(Mailbox, Sent);
            Await("the mailbox: the physical function's answer", () => HasHappened(MailArrived));
            Hold();
            uint answer = Registers.Read32(MailboxMemory);
            (uint low, uint high) = (Registers.Read32(MailboxMemory + 4), Registers.Read32(MailboxMemory + 8));
            Registers.Write32(Mailbox, Taken);
            if ((answer & 0xffff) == message && (answer & (Refused | Acknowledged)) != 0)
            {
                (first, second) = (low, high);
                return (answer & Refused) == 0;
            }
        }

        throw new IOException("The physical function's driver does not answer what it is asked.");
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

using IommuFd.HwSim.Devices;

namespace IommuFd.HwSim.Kernel;

/// <summary>igb, which can enable virtual functions and then answers their mail.</summary>
/// <remarks>
/// Does not model: frames of its own, VLANs, multicast and large frames that a virtual function asks for (refused), and the network interface.
/// </remarks>
internal sealed class IgbDriver(PciTree tree) : HostDriver("igb", new PciId(0x8086, 0x10c9), new PciId(0x8086, 0x10e6), new PciId(0x8086, 0x1521),
    new PciId(0x8086, 0x1533))
{
    public override bool HasSriovConfigure => true;

    /// <inheritdoc/>
    public override int SriovConfigure(PciFunction function, int count)
    {
        if (count == 0)
        {
            function.Hardware.Interrupts = null;
            tree.DisableVirtual(function);
            return 0;
        }

        IgbMailboxes mailboxes = new(function.Hardware);
        function.Hardware.Interrupts = mailboxes;
        mailboxes.Start(count);
        int result = tree.EnableVirtual(function, count);
        return result < 0 ? result : count;
    }

    /// <inheritdoc/>
    public override void Remove(PciFunction function)
    {
        function.Hardware.Interrupts = null;
        if (function.VirtualFunctions.Count != 0)
        {
            tree.DisableVirtual(function);
        }

        base.Remove(function);
    }

    /// <summary>
    /// The physical function's side of virtual functions (82576 sections 7.10 and 8.14): pools, addresses and the mailbox, in the words of Linux's
    /// igb and igbvf.
    /// </summary>
    private sealed class IgbMailboxes(PciDevice device) : IInterruptSink
    {
        private const uint VMMB = 0x100, VirtualReset = 1, SetAddress = 2, Acknowledged = 0x8000_0000, Refused = 0x4000_0000, MaySend = 0x2000_0000,
            Sent = 1, Taken = 2, Holds = 8;

        /// <summary>Pools with the switch between them; virtual functions may do nothing until they have introduced themselves.</summary>
        public void Start(int count)
        {
            Write(0x0018, 0x1000_4000); // CTRL_EXT: a driver is there, and its reset is done
            Write(0x5818, 3); // MRQC: pools
            Write(0x581c, (uint)count << 7 | 1u << 30); // VT_CTL: the default pool is the driver's; broadcasts are copied
            Write(0x3500, 1u << 31); // DTXSWC: frames between pools do not leave
            Write(0x0c8c, 0); // VFRE
            Write(0x0c90, 0); // VFTE
            Write(0x0c84, 0xff); // MBVFIMR
            Write(0x0100, 0x0400_8002); // RCTL: on, broadcasts, without FCS
            Write(0x0400, 0xa); // TCTL: on, padded
            Write(0x1508, VMMB); // IMS
        }

        void IInterruptSink.Message(PciDevice source, int vector, ulong address, uint data)
        {
        }

        // The device holds its lock here: the work is done elsewhere.
        void IInterruptSink.Line(PciDevice source, bool asserted)
        {
            if (asserted)
            {
                ThreadPool.QueueUserWorkItem(static self => self.Answer(), this, preferLocal: false);
            }
        }

        private uint Read(uint offset) => (uint)device.ReadBar(0, offset, 4);

        private void Write(uint offset, uint value) => device.WriteBar(0, offset, 4, value);

        private void Answer()
        {
            _ = Read(0x1500); // ICR
            uint resets = Read(0x0c88), mail = Read(0x0c80);
            Write(0x0c88, resets);
            Write(0x0c80, mail);
            for (uint number = 0; number < 8; number++)
            {
                if ((resets >> (int)number & 1) != 0)
                {
                    Allow(number, false);
                }

                if ((mail >> (int)number & 1) != 0)
                {
                    Answer(number);
                }
            }
        }

        private void Answer(uint number)
        {
            uint memory = 0x0800 + (number * 0x40), mailbox = 0x0c00 + (number * 4), message = Read(memory);
            Write(mailbox, Taken);
            Write(mailbox, Holds);
            switch (message & 0xffff)
            {
                case VirtualReset:
                    // Nobody gave it an address, so the answer is no; it may send and receive all the same.
                    Write(0x5ad0 + (number * 4), 0x0900_2600); // VMOLR: untagged frames and broadcasts
                    Allow(number, true);
                    Write(memory, message | Refused);
                    break;
                case SetAddress:
                    uint filter = 0x5408 + (number * 8);
                    Write(filter, Read(memory + 4));
                    Write(filter + 4, (Read(memory + 8) & 0xffff) | 1u << 31 | 1u << (int)(18 + number));
                    Write(memory, message | Acknowledged | MaySend);
                    break;
                default:
                    Write(memory, message | Refused);
                    break;
            }

            Write(mailbox, Sent);
        }

        private void Allow(uint number, bool value)
        {
            foreach (uint register in (uint[])[0x0c8c, 0x0c90])
            {
                uint mask = Read(register);
                Write(register, value ? mask | 1u << (int)number : mask & ~(1u << (int)number));
            }
        }
    }
}

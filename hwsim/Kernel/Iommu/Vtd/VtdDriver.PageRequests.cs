using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The page request queue (data book 7.4): its event, its records, the answers (6.5.2.9); and the devices' own translation caches (6.5.2.5 and
/// 6.5.2.6).
/// </summary>
internal sealed partial class VtdDriver
{
    private const ulong DeviceTlbDescriptor = 3, PasidDeviceTlbDescriptor = 8, PageGroupResponseDescriptor = 9;
    private const ulong PageRequestMessage = 0xfee0_0000;
    private const int PageRequestBytes = 4096, RecordBytes = 32;

    private readonly Lock _pageRequestLock = new();
    private readonly Dictionary<ushort, IommuDevice> _requesters = [];
    private readonly ulong _pageRequests;

    /// <inheritdoc/>
    public void Message(ushort requesterId, ulong address, uint data)
    {
        if (address == PageRequestMessage)
        {
            HandlePageRequests();
        }
        else if (address == FaultMessage)
        {
            HandleFaults();
        }
    }

    /// <summary>
    /// Tells a device to forget translations of a PASID (0: of requests without one) in a range. Nothing happens when it keeps none.
    /// </summary>
    internal void InvalidateDeviceTlb(IommuDevice device, uint pasid, ulong first, ulong last)
    {
        if (!device.HasDeviceTlb)
        {
            return;
        }

        // The size is in the address: ones below the lowest zero bit.
        var order = Align(ref first, last);
        var address = order == 0 ? first : first | ((1UL << (11 + order)) - 0x1000);
        if (pasid == IommuGroup.NoPasid)
        {
            Submit(DeviceTlbDescriptor | ((ulong)device.RequesterId << 32), address | (order > 0 ? 1u : 0));
        }
        else
        {
            Submit(PasidDeviceTlbDescriptor | ((ulong)device.RequesterId << 16) | ((ulong)pasid << 32), address | (order > 0 ? 1u << 11 : 0));
        }
    }

    private void EnablePageRequests(out ulong queue)
    {
        queue = _memory.Allocate();
        Unit.Interrupts = this;
        Unit.WriteRegister(VtdRegister.PQH, 8, 0);
        Unit.WriteRegister(VtdRegister.PQT, 8, 0);
        Unit.WriteRegister(VtdRegister.PQA, 8, queue);
        Unit.WriteRegister(VtdRegister.PEADDR, 4, PageRequestMessage);
        Unit.WriteRegister(VtdRegister.PEUADDR, 4, PageRequestMessage >> 32);
        Unit.WriteRegister(VtdRegister.PECTL, 4, 0);
    }

    // prq_event_thread
    private void HandlePageRequests()
    {
        const ulong Pending = 1, Overflow = 2;
        lock (_pageRequestLock)
        {
            // Before the registers are read: what comes from here on is announced again.
            Unit.WriteRegister(VtdRegister.PRS, 4, Pending);
            var tail = Unit.ReadRegister(VtdRegister.PQT, 8);
            for (var head = Unit.ReadRegister(VtdRegister.PQH, 8); head != tail; head = (head + RecordBytes) % PageRequestBytes)
            {
                _memory.Read64(_pageRequests + head, out var low);
                _memory.Read64(_pageRequests + head + 8, out var high);
                Report(low, high);
            }

            Unit.WriteRegister(VtdRegister.PQH, 8, tail);
            if ((Unit.ReadRegister(VtdRegister.PRS, 4) & Overflow) != 0)
            {
                Unit.WriteRegister(VtdRegister.PRS, 4, Overflow);
            }
        }
    }

    private void Report(ulong low, ulong high)
    {
        const ulong Read = 1, Write = 2, Last = 4;
        const uint Invalid = 1;
        var hasPasid = (low & 1 << 8) != 0;
        var requesterId = (ushort)(low >> 16);
        var pasid = (uint)(low >> 32) & 0xf_ffff;
        bool executes = (low & 1UL << 52) != 0, isPrivileged = (low & 1UL << 53) != 0;
        var group = (uint)(high >> 3) & 0x1ff;
        var address = high & ~0xfffUL;
        void Respond(uint code) => Submit(
            PageGroupResponseDescriptor | (hasPasid ? 1u << 4 : 0) | (code << 12) | ((ulong)requesterId << 16) | ((ulong)pasid << 32), group << 3);

        IommuDevice? device;
        lock (_lock)
        {
            device = _requesters.GetValueOrDefault(requesterId);
        }

        // A stop marker asks for nothing.
        if ((high & (Read | Write | Last)) == Last && !executes)
        {
            return;
        }

        var isCanonical = (long)(address << 7) >> 7 == (long)address;
        if (!isCanonical || (isPrivileged && (high & (Read | Write)) != 0) || (executes && (high & Read) != 0) || device == null)
        {
            if ((high & Last) != 0)
            {
                Respond(Invalid);
            }

            return;
        }

        const uint NeedsPasid = 4;
        var flags = ((high & Last) != 0 ? IoPageFault.LastPage : 0) | (hasPasid ? IoPageFault.PasidValid | NeedsPasid : 0);
        var permissions = (uint)(high & (Read | Write)) | (executes ? 4u : 0) | (isPrivileged ? 8u : 0);
        device.ReportFault(new IoPageFault(flags, hasPasid ? pasid : 0, group, permissions, address), code => Respond((uint)code));
    }
}

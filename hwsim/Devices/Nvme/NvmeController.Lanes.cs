namespace IommuFd.HwSim.Devices.Nvme;

// Queue pairs that do not interrupt work at the same time on several threads. A lane is what the queues of a completion queue need for themselves;
// the device's lock comes before any lane's, and everything but an I/O doorbell has all of them.
public sealed unsafe partial class NvmeController
{
    private const int Lanes = 8;

    private readonly Lane[] _lanes = [.. Enumerable.Range(0, Lanes).Select(static _ => new Lane())];

    /// <inheritdoc/>
    protected override bool TryWriteAtOnce(int bar, ulong offset, int bytes, ulong value)
    {
        if (bytes != 4 || !IsIoDoorbell(offset, out int index))
            return false;
        int completion = CompletionOf(index);
        lock (LaneOf(completion).Gate)
        {
            // Whatever is out of the ordinary, or concerns interrupts, is done under the device's lock.
            uint size = index % 2 == 0 ? _submission[index / 2].Size : _completion[index / 2].Size;
            if ((_status & (Ready | Fatal)) != Ready || CompletionOf(index) != completion || _completion[completion].Interrupts || value >= size)
                return false;
            Doorbell(index, (uint)value);
            return true;
        }
    }

    private static bool IsIoDoorbell(ulong offset, out int index)
    {
        index = (int)((offset - 0x1000) / 4);
        return offset % 4 == 0 && offset - 0x1000 < 8 * Queues && index >= 2;
    }

    private int CompletionOf(int index) => index % 2 == 0 ? _submission[index / 2].Completion : index / 2;

    private Lane LaneOf(int completion) => _lanes[completion % Lanes];

    // Under the device's lock.
    private void WriteInLanes(ulong offset, uint value)
    {
        if (IsIoDoorbell(offset, out int index))
        {
            lock (LaneOf(CompletionOf(index)).Gate)
                WriteRegister(offset, value);
            return;
        }

        EnterLanes();
        try
        {
            WriteRegister(offset, value);
        }
        finally
        {
            ExitLanes();
        }
    }

    private void EnterLanes() => Array.ForEach(_lanes, static lane => lane.Gate.Enter());

    private void ExitLanes() => Array.ForEach(_lanes, static lane => lane.Gate.Exit());

    private sealed class Lane
    {
        // Before and behind the lock, so that lanes do not share lines of the processors' caches.
        private readonly byte[] _before = new byte[Apart];

        public Lock Gate { get; } = new();

        private readonly byte[] _behind = new byte[Apart];

        /// <summary>Room for a PRP list: a page of 64 KiB.</summary>
        public ulong[] List => field ??= new ulong[8192];

        /// <summary>Room for SGL descriptors.</summary>
        public ulong[] Descriptors => field ??= new ulong[2 * MostDescriptors];
    }
}

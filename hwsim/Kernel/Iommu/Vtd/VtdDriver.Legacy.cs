using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Legacy mode: root and context entries of 16 bytes (data book 9.1 and 9.3).</summary>
internal sealed partial class VtdDriver
{
    /// <summary>Points a requester at a table (domain_context_mapping_one). Nothing happens when it has one.</summary>
    /// <returns>0, or -ENOMEM.</returns>
    internal int SetContext(ushort requesterId, int domainId, ulong table, int addressWidth)
    {
        lock (_lock)
        {
            var rootEntry = _root + ((ulong)(requesterId >> 8) * 16);
            _memory.Read64(rootEntry, out var root);
            if ((root & 1) == 0)
            {
                root = _memory.Allocate();
                if (root == 0)
                {
                    return -Errno.ENOMEM;
                }

                root |= 1;
                _memory.Write64(rootEntry, root);
            }

            var entry = (root & ~0xfffUL) + ((ulong)(requesterId & 0xff) * 16);
            _memory.Read64(entry, out var low);
            if ((low & 1) != 0)
            {
                return 0;
            }

            // The half with the present bit last.
            _memory.Write64(entry + 8, ((ulong)domainId << 8) | (uint)addressWidth);
            _memory.Write64(entry, table | 1);
            if (HasCachingMode)
            {
                // What was not there is cached under domain id 0.
                InvalidateContext(granularity: 3, 0, requesterId);
                InvalidateIoTlb(granularity: 2, domainId, 0, 0);
            }

            return 0;
        }
    }

    /// <summary>Takes a requester's table away: its DMA faults from now on (domain_context_clear).</summary>
    internal void ClearContext(ushort requesterId)
    {
        lock (_lock)
        {
            _memory.Read64(_root + ((ulong)(requesterId >> 8) * 16), out var root);
            if ((root & 1) == 0)
            {
                return;
            }

            var entry = (root & ~0xfffUL) + ((ulong)(requesterId & 0xff) * 16);
            _memory.Read64(entry + 8, out var high);
            _memory.Write64(entry, 0);
            _memory.Write64(entry + 8, 0);
            var domainId = (int)(high >> 8) & 0xffff;
            InvalidateContext(granularity: 3, domainId, requesterId);
            InvalidateIoTlb(granularity: 2, domainId, 0, 0);
        }
    }
}

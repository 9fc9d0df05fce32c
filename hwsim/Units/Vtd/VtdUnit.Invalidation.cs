namespace IommuFd.HwSim.Units;

// Data book section 6.5: invalidating the caches, by register (6.5.1).
public sealed partial class VtdUnit
{
    private void InvalidateContextByRegister()
    {
        ref var command = ref Registers[VtdRegister.CCMD];
        var granularity = (int)(command >> 61 & 3);
        InvalidateContexts(granularity, (ushort)command, (ushort)(command >> 16), (int)(command >> 32 & 3));
        // Done at the granularity that was asked for: CAIG = CIRG, and ICC reads 0.
        command = (command & ~(0x1FUL << 59) & ~(1UL << 63)) | ((ulong)granularity << 59) | ((ulong)granularity << 61);
    }

    private void InvalidateIoTlbByRegister()
    {
        ref var command = ref Registers[VtdRegister.IOTLB];
        var granularity = (int)(command >> 60 & 3);
        var address = Registers[VtdRegister.IVA];
        InvalidateIoTlb(granularity, (ushort)(command >> 32), address & ~0xFFFUL, (int)(address & 0x3F));
        command = (command & ~(1UL << 63) & ~(3UL << 57)) | ((ulong)granularity << 57);
    }

    // Granularity 1 global, 2 domain, 3 device (with function mask: how many low function bits are ignored).
    private void InvalidateContexts(int granularity, ushort domain, ushort sourceId, int functionMask)
    {
        var ignored = functionMask switch { 0 => 0, 1 => 4, 2 => 6, _ => 7 };
        for (var i = 0; i < _devices.Length; i++)
        {
            // In scalable mode a context entry has no domain: anything but one device means all of them.
            if (_devices[i] is { } device && (granularity != 3 || ((device.SourceId ^ sourceId) & ~ignored) == 0))
                _devices[i] = null;
        }

        for (var i = 0; i < _contexts.Length; i++)
        {
            var context = _contexts[i];
            if (context == null || context.Device != null)
                continue;
            var matches = granularity switch
            {
                1 => true,
                2 => context.DomainId == domain,
                3 => context.DomainId == domain && ((context.SourceId ^ sourceId) & ~ignored) == 0,
                _ => false,
            };
            if (matches)
                _contexts[i] = null;
        }
    }

    // Granularity 1 global, 2 domain, 3 page: 2^mask pages around the address.
    private void InvalidateIoTlb(int granularity, ushort domain, ulong address, int mask)
    {
        switch (granularity)
        {
            case 1:
                _ioTlb.Clear();
                break;
            case 2:
                _ioTlb.Remove(domain, 0xFFFF | FirstStageOnly);
                break;
            case 3:
                var size = (1UL << (12 + Math.Min(mask, 51))) - 1;
                _ioTlb.Remove(domain, 0xFFFF | KindBits, address & ~size, address | size);
                // The address is one of the second stage; nested entries are kept by first-stage addresses, so all of the domain go.
                _ioTlb.Remove(domain | NestedSpace, 0xFFFF | KindBits);
                break;
            default:
                break;
        }
    }
}

using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A VM: once KVM_CAP_PASID_TRANSLATION is enabled, the PASID that a guest's ENQCMD carries is translated by a table that KVM_MAP_PASID and
/// KVM_UNMAP_PASID fill. The table is one for the VM, whatever device the instruction writes to.
/// </summary>
internal sealed class RfcVm(RfcModule module) : SimulatedFile
{
    private const uint EnableCap = 0x4068aea3;
    private readonly Dictionary<uint, (RfcContext Context, int Ioasid)> _pasids = [];

    /// <summary>True when PASIDs of CPU instructions are translated.</summary>
    internal bool IsTranslating { get; private set; }

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        lock (module.Lock)
        {
            return request switch
            {
                RfcKvm.CheckExtension => argument == Rfc.KVM_CAP_PASID_TRANSLATION ? 1 : 0,
                EnableCap => Enable(argument, user),
                Rfc.KVM_MAP_PASID => MapOrUnmap(argument, user, map: true),
                Rfc.KVM_UNMAP_PASID => MapOrUnmap(argument, user, map: false),
                _ => -Errno.ENOTTY,
            };
        }
    }

    /// <summary>The number that the processor puts on the wire; null when the instruction faults. The lock is held.</summary>
    internal uint? Translate(uint pasid) => !IsTranslating ? pasid
        : _pasids.TryGetValue(pasid, out (RfcContext Context, int Ioasid) to) ? to.Context.FindCpuPasid(to.Ioasid, pasid)
        : null;

    /// <inheritdoc/>
    protected override void Release()
    {
        lock (module.Lock)
        {
            foreach (uint pasid in _pasids.Keys.ToArray())
            {
                Forget(pasid);
            }
        }
    }

    // struct kvm_enable_cap: u32 cap, u32 flags, u64 args[4], u8 pad[64].
    private unsafe int Enable(ulong argument, IUserMemory user)
    {
        uint* cap = stackalloc uint[2];
        if (user.CopyFrom(argument, cap, 8) < 0)
        {
            return -Errno.EFAULT;
        }

        if (cap[0] != Rfc.KVM_CAP_PASID_TRANSLATION || cap[1] != 0)
        {
            return -Errno.EINVAL;
        }

        IsTranslating = true;
        return 0;
    }

    private int MapOrUnmap(ulong argument, IUserMemory user, bool map)
    {
        int error = RfcContext.CopyArgument(argument, user, out kvm_pasid request);
        if (error < 0)
        {
            return error;
        }

        if (!IsTranslating || request.flags != 0 || request.__reserved != 0 || module.Vfio.Process.GetFile(request.iommu_fd) is not { } file)
        {
            return -Errno.EINVAL;
        }

        error = file is not RfcContext context
            ? -Errno.EINVAL
            : map ? Map(context, request.ioasid, request.user_pasid)
            : Unmap(context, request.ioasid, request.user_pasid);
        file.Put();
        return error;
    }

    // KVM asks for the physical number; the user never sees it.
    private int Map(RfcContext context, int ioasid, uint pasid)
    {
        if (_pasids.ContainsKey(pasid) || (context.Translator is { } other && other != this))
        {
            return _pasids.ContainsKey(pasid) ? -Errno.EEXIST : -Errno.EBUSY;
        }

        if (context.FindCpuPasid(ioasid, pasid) is null)
        {
            return -Errno.EINVAL;
        }

        _pasids.Add(pasid, (context, ioasid));
        context.Translator = this;
        context.Get();
        return 0;
    }

    private int Unmap(RfcContext context, int ioasid, uint pasid)
    {
        if (!_pasids.TryGetValue(pasid, out (RfcContext Context, int Ioasid) known) || known != (context, ioasid))
        {
            return -Errno.EINVAL;
        }

        Forget(pasid);
        return 0;
    }

    private void Forget(uint pasid)
    {
        _pasids.Remove(pasid, out (RfcContext Context, int Ioasid) known);
        if (!_pasids.Values.Any(p => p.Context == known.Context))
        {
            known.Context.Translator = null;
        }

        known.Context.Put();
    }
}

using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <content>Attaching on the proposal's kernel, which keeps the attachments of parent and child apart by itself.</content>
public sealed unsafe partial class BoundDevice
{
    private readonly List<(Attachment Attachment, int Ioasid)> _leaving = []; // parents that the kernel lets go only after their children

    /// <summary>VFIO_ATTACH_IOASID.</summary>
    internal uint InstallIoasid(int ioasid, uint? pasid)
    {
        int result = IoasidCall(Rfc.VFIO_ATTACH_IOASID, ioasid, pasid);
        return result >= 0 ? (uint)ioasid : throw Failure.Of(
            nameof(Rfc.VFIO_ATTACH_IOASID), result, new Evidence("device", $"{Address}"), new Evidence("ioasid", $"{ioasid}"),
            new Evidence("vpasid", pasid is null ? "none" : $"{pasid}"));
    }

    // EBUSY: the device is on a child still. The space is held until the child has gone.
    private void DetachIoasid(Attachment attachment)
    {
        int? ioasid = attachment.Space switch
        {
            MappedAddressSpace { Backend: RfcBackend backend } => backend.Ioasid,
            UserTableSpace table => table.Ioasid,
            _ => null,
        };
        if (ioasid is null)
        {
            return;
        }

        attachment.Target.Keep();
        _leaving.Add((attachment, ioasid.Value));
        bool went;
        do
        {
            went = false;
            for (int i = _leaving.Count - 1; i >= 0; i--)
            {
                (Attachment leaving, int id) = _leaving[i];
                if (IoasidCall(Rfc.VFIO_DETACH_IOASID, id, leaving.Pasid) != -Errno.EBUSY)
                {
                    _leaving.RemoveAt(i);
                    (leaving.Space as MappedAddressSpace)?.Backend.Attached(this, attached: false);
                    leaving.Target.Exit();
                    went = true;
                }
            }
        }
        while (went && _leaving.Count != 0);
    }

    private int IoasidCall(uint request, int ioasid, uint? pasid)
    {
        bool held = false;
        try
        {
            Context.Handle.DangerousAddRef(ref held); // its number is valid for the call
            vfio_attach_ioasid command = new()
            {
                argsz = (uint)sizeof(vfio_attach_ioasid), flags = pasid is null ? 0 : Rfc.IOASID_ATTACH_VPASID,
                iommu_fd = (int)Context.Handle.DangerousGetHandle(),
                ioasid = ioasid, vpasid = pasid ?? 0,
            };
            return _handle.Ioctl(request, ref command);
        }
        finally
        {
            if (held)
            {
                Context.Handle.DangerousRelease();
            }
        }
    }
}

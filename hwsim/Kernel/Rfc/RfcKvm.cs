using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>/dev/kvm, as far as the proposal needs it: VMs whose PASIDs of CPU instructions are translated.</summary>
/// <remarks>Does not model: virtual processors, memory, interrupts; a guest's ENQCMD is <see cref="SimulatedHost.Enqcmd"/>.</remarks>
internal sealed class RfcKvm(RfcModule module) : SimulatedFile
{
    private const uint GetApiVersion = 0xae00, CreateVm = 0xae01;

    /// <summary>KVM_CHECK_EXTENSION, of the system and of a VM.</summary>
    internal const uint CheckExtension = 0xae03;

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        switch (request)
        {
            case GetApiVersion:
                return argument == 0 ? 12 : -Errno.EINVAL;
            case CheckExtension:
                return argument == Rfc.KVM_CAP_PASID_TRANSLATION ? 1 : 0;
            case CreateVm:
                var vm = new RfcVm(module);
                int descriptor = user.Process.InstallFile(vm);
                if (descriptor < 0)
                {
                    vm.Put();
                }

                return descriptor;
            default:
                return -Errno.ENOTTY;
        }
    }
}

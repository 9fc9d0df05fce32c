using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>The shared secret between a physical function's user and the users of its virtual functions.</summary>
internal sealed class VfToken
{
    /// <summary>The token; unknown to everybody at first.</summary>
    public Guid Value { get; set; } = Guid.NewGuid();

    /// <summary>Virtual functions that are open.</summary>
    public int Users { get; set; }
}

/// <summary>VF tokens, SR-IOV, low power.</summary>
internal sealed unsafe partial class VfioPciDevice
{
    private readonly Lock _lowPowerGate = new();
    private bool _lowPower;
    private EventfdContext? _wakeUp;

    /// <summary>The token, for a physical function with SR-IOV.</summary>
    public VfToken? Token { get; }

    /// <summary>The physical function's device, when it is vfio-pci's and made this virtual function.</summary>
    public VfioPciDevice? PhysicalDevice { get; set; }

    /// <summary>True while virtual functions are enabled through this device.</summary>
    public bool SriovActive { get; private set; }

    /// <inheritdoc/>
    public override bool HasTokens => true;

    /// <inheritdoc/>
    public override int MatchToken(Guid? token)
    {
        if (Function.IsVirtual)
        {
            if (PhysicalDevice is not { } physical)
            {
                return token is null ? 0 : -Errno.EINVAL;
            }

            lock (physical.Token!)
            {
                return token == physical.Token.Value ? 0 : -Errno.EACCES;
            }
        }

        if (Token is null)
        {
            return token is null ? 0 : -Errno.EINVAL;
        }

        lock (Token)
        {
            if (Token.Users != 0)
            {
                return token == Token.Value ? 0 : -Errno.EACCES;
            }

            if (token is not null)
            {
                Token.Value = token.Value;
            }

            return 0;
        }
    }

    /// <inheritdoc/>
    public override int Match(string text)
    {
        if (!text.StartsWith(Name, StringComparison.Ordinal))
        {
            return 0;
        }

        Guid? token = null;
        string rest = text[Name.Length..];
        if (rest.Length > 0 && rest[0] != ' ')
        {
            return 0;
        }

        const string argument = "vf_token=";
        while (rest.Length > 0)
        {
            if (rest[0] == ' ')
            {
                rest = rest[1..];
                continue;
            }

            if (token is not null || !rest.StartsWith(argument, StringComparison.Ordinal) || rest.Length < argument.Length + 36
                || !Guid.TryParseExact(rest.AsSpan(argument.Length, 36), "D", out Guid parsed))
            {
                return -Errno.EINVAL;
            }

            token = parsed;
            rest = rest[(argument.Length + 36)..];
        }

        int error = MatchToken(token);
        return error < 0 ? error : 1;
    }

    /// <summary>vfio_pci_core_sriov_configure: enables virtual functions, which vfio-pci then takes; 0 disables them.</summary>
    public int ConfigureSriov(int count)
    {
        if (count == 0)
        {
            if (Function.VirtualFunctions.Count != 0)
            {
                _tree.DisableVirtual(Function);
            }

            SriovActive = false;
            return 0;
        }

        if (SriovActive)
        {
            return -Errno.EINVAL;
        }

        SriovActive = true;
        int error = _tree.EnableVirtual(Function, count, driverOverride: "vfio-pci");
        if (error < 0)
        {
            SriovActive = false;
            return error;
        }

        return count;
    }

    /// <inheritdoc/>
    public override int Feature(uint flags, ulong data, uint size, IUserMemory user)
    {
        switch (flags & Vfio.VFIO_DEVICE_FEATURE_MASK)
        {
            case Vfio.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
                return EnterLowPower(flags, data, size, 0, user);
            case Vfio.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP:
                return EnterLowPower(flags, data, size, (uint)sizeof(vfio_device_low_power_entry_with_wakeup), user);
            case Vfio.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
                int exit = VfioFeatures.Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_SET, 0);
                if (exit == 1)
                {
                    ExitLowPower();
                }

                return Math.Min(exit, 0);
            case Vfio.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN:
                return SetToken(flags, data, size, user);
            case Vfio.VFIO_DEVICE_FEATURE_DMA_BUF:
                return ExportDmaBuf(flags, data, size, user);
            default:
                return -Errno.ENOTTY;
        }
    }

    private int SetToken(uint flags, ulong data, uint size, IUserMemory user)
    {
        if (Token is null)
        {
            return -Errno.ENOTTY;
        }

        int check = VfioFeatures.Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_SET, 16);
        if (check != 1)
        {
            return check;
        }

        byte* bytes = stackalloc byte[16];
        if (user.CopyFrom(data, bytes, 16) < 0)
        {
            return -Errno.EFAULT;
        }

        lock (Token)
        {
            Token.Value = new Guid(new ReadOnlySpan<byte>(bytes, 16), bigEndian: true);
            return 0;
        }
    }

    private int EnterLowPower(uint flags, ulong data, uint size, uint minimum, IUserMemory user)
    {
        int check = VfioFeatures.Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_SET, minimum);
        if (check != 1)
        {
            return check;
        }

        EventfdContext? wakeUp = null;
        if (minimum != 0)
        {
            vfio_device_low_power_entry_with_wakeup entry;
            if (user.CopyFrom(data, &entry, minimum) < 0)
            {
                return -Errno.EFAULT;
            }

            if (entry.wakeup_eventfd < 0)
            {
                return -Errno.EINVAL;
            }

            int error = Core.EventfdFrom(entry.wakeup_eventfd, out wakeUp);
            if (error < 0)
            {
                return error;
            }
        }

        lock (_lowPowerGate)
        {
            if (_lowPower)
            {
                wakeUp?.Dispose();
                return -Errno.EINVAL;
            }

            _lowPower = true;
            _wakeUp = wakeUp;
            return 0;
        }
    }

    private void ExitLowPower()
    {
        lock (_lowPowerGate)
        {
            _lowPower = false;
            _wakeUp?.Dispose();
            _wakeUp = null;
        }
    }
}

using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

internal sealed unsafe partial class VfioPciConfig
{
    private void Write(int at, int bytes, VfioConfigPermissions permissions, int offset, uint value)
    {
        if (permissions.IsRawWrite)
        {
            _function.Write(at, bytes, value);
            return;
        }

        switch (permissions.Effect)
        {
            case ConfigEffect.Header:
                WriteHeader(at, bytes, permissions, value);
                break;
            case ConfigEffect.Power:
                WriteDefault(at, bytes, permissions, offset, value);
                if (offset == PCI_PM_CTRL)
                {
                    SetPowerState((int)(value & PCI_PM_CTRL_STATE_MASK));
                }

                break;
            case ConfigEffect.Msi:
                WriteDefault(at, bytes, permissions, offset, value);
                if (offset <= PCI_MSI_FLAGS && offset + bytes >= PCI_MSI_FLAGS)
                {
                    HoldMsi(at - offset);
                }

                break;
            case ConfigEffect.Express:
                WriteExpress(at, bytes, permissions, offset, value);
                break;
            case ConfigEffect.AdvancedFeatures:
                WriteAdvancedFeatures(at, bytes, permissions, offset, value);
                break;
            default:
                WriteDefault(at, bytes, permissions, offset, value);
                break;
        }
    }

    // vfio_default_config_write: virtual bits are kept here, the others go to the hardware, both only where they are writable.
    private void WriteDefault(int at, int bytes, VfioConfigPermissions permissions, int offset, uint value)
    {
        uint writable = permissions.Writable(offset, bytes);
        uint isVirtual = permissions.Virtual(offset, bytes);
        if ((writable & isVirtual) != 0)
        {
            SetVirtual(at, bytes, (VirtualValue(at, bytes) & ~(writable & isVirtual)) | (value & writable & isVirtual));
        }

        if ((writable & ~isVirtual) != 0)
        {
            _function.Write(at, bytes, (_function.Read(at, bytes) & ~(writable & ~isVirtual)) | (value & writable & ~isVirtual));
        }
    }

    private void WriteHeader(int at, int bytes, VfioConfigPermissions permissions, uint value)
    {
        if (at == PCI_COMMAND)
        {
            using IDisposable locked = _device.LockMemory(revoke: (value & PCI_COMMAND_MEMORY) == 0);
            ushort physical = (ushort)_function.Read(PCI_COMMAND, 2);

            // Enabled for the user but not in the hardware, or with other BARs: it was reset behind our back.
            bool lost = Lost(PCI_COMMAND_IO) || (Lost(PCI_COMMAND_MEMORY) && !_function.IsVirtual) || BarsDiffer();
            if (lost && !_function.IsVirtual)
            {
                for (int i = 0; i < _realBars.Length; i++)
                {
                    _function.Write(PCI_BASE_ADDRESS_0 + (4 * i), 4, _realBars[i]);
                }
            }

            WriteDefault(at, bytes, permissions, at, value);
            const uint decode = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;
            Set16(PCI_COMMAND, (Command & ~decode) | (value & decode));

            bool Lost(uint bit) => (value & bit) != 0 && (Command & bit) != 0 && (physical & bit) == 0;
        }
        else
        {
            WriteDefault(at, bytes, permissions, at, value);
        }

        if (at is PCI_COMMAND or PCI_COMMAND + 1)
        {
            bool disabled = (Command & PCI_COMMAND_INTX_DISABLE) != 0;
            if (disabled != _intxDisabled)
            {
                _intxDisabled = disabled;
                _device.Interrupts.SetDisabledByUser(disabled);
            }
        }

        _barsDirty |= IsBar(at);
    }

    private bool BarsDiffer()
    {
        for (int i = 0; i < _realBars.Length; i++)
        {
            if (_realBars[i] != 0 && _function.Read(PCI_BASE_ADDRESS_0 + (4 * i), 4) != _realBars[i])
            {
                return true;
            }
        }

        return false;
    }

    private void SetPowerState(int state)
    {
        using IDisposable locked = _device.LockMemory(revoke: state == 3);
        if (state > 0 && _device.SriovActive)
        {
            return;
        }

        PowerState = state;
        _function.Write(_function.Pm + PCI_PM_CTRL, 2, (_function.Read(_function.Pm + PCI_PM_CTRL, 2) & ~(uint)PCI_PM_CTRL_STATE_MASK) | (uint)state);
    }

    private void HoldMsi(int start)
    {
        uint flags = Word16(start + PCI_MSI_FLAGS);
        if (!_device.Interrupts.IsMsi)
        {
            flags &= ~(uint)PCI_MSI_FLAGS_ENABLE;
        }

        if ((flags & PCI_MSI_FLAGS_QSIZE) >> 4 > _device.Interrupts.MsiMaximum)
        {
            flags = (flags & ~(uint)PCI_MSI_FLAGS_QSIZE) | (uint)(_device.Interrupts.MsiMaximum << 4);
        }

        Set16(start + PCI_MSI_FLAGS, flags);
        _function.Write(start + PCI_MSI_FLAGS, 2, flags);
    }

    private void WriteExpress(int at, int bytes, VfioConfigPermissions permissions, int offset, uint value)
    {
        int start = at - offset;
        uint before = Word16(start + PCI_EXP_DEVCTL) & PCI_EXP_DEVCTL_READRQ;
        WriteDefault(at, bytes, permissions, offset, value);
        uint control = Word16(start + PCI_EXP_DEVCTL);
        if ((control & PCI_EXP_DEVCTL_BCR_FLR) != 0)
        {
            Set16(start + PCI_EXP_DEVCTL, control & ~(uint)PCI_EXP_DEVCTL_BCR_FLR);
            if ((_function.Read(start + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR) != 0)
            {
                _ = _device.TryResetFunction();
            }
        }

        uint after = control & PCI_EXP_DEVCTL_READRQ;
        if (before != after)
        {
            // Read requests never smaller than the payload that the hardware is set to.
            uint physical = _function.Read(start + PCI_EXP_DEVCTL, 2);
            uint size = Math.Max(after >> 12, (physical & PCI_EXP_DEVCTL_PAYLOAD) >> 5);
            _function.Write(start + PCI_EXP_DEVCTL, 2, (physical & ~(uint)PCI_EXP_DEVCTL_READRQ) | (size << 12));
        }
    }

    private void WriteAdvancedFeatures(int at, int bytes, VfioConfigPermissions permissions, int offset, uint value)
    {
        int start = at - offset;
        WriteDefault(at, bytes, permissions, offset, value);
        if ((_virtual[start + PCI_AF_CTRL] & 1) != 0)
        {
            _virtual[start + PCI_AF_CTRL] &= 0xfe;
            const uint both = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
            if ((_function.Read(start + PCI_AF_CAP, 1) & both) == both)
            {
                _ = _device.TryResetFunction();
            }
        }
    }
}

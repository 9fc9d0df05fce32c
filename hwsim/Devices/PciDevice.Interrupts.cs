namespace IommuFd.HwSim.Devices;

// INTx (PCI 3.0 section 6.2.4), MSI (6.8.1) and MSI-X (6.8.2).
public abstract partial class PciDevice
{
    private const byte MsiId = 5, MsixId = 0x11;
    private int _msi;
    private bool _msiMaskable;
    private int _msix;
    private int _msixBar = -1;
    private ulong _msixOffset, _msixPendingOffset;
    private uint[] _msixTable = [];
    private bool _intxWanted;
    private bool _intxAsserted;
    private ulong _msiPending;

    /// <summary>Vectors of the MSI capability; 0 without one.</summary>
    public int MsiVectors { get; private set; }

    /// <summary>Vectors of the MSI-X capability; 0 without one.</summary>
    public int MsixVectors { get; private set; }

    /// <summary>True when software enabled MSI.</summary>
    public bool MsiEnabled => _msi != 0 && (Config.Read(_msi + 2, 2) & 1) != 0;

    /// <summary>True when software enabled MSI-X.</summary>
    public bool MsixEnabled => _msix != 0 && (Config.Read(_msix + 2, 2) & 0x8000) != 0;

    /// <summary>True while the INTx line is asserted.</summary>
    public bool LineAsserted => _intxAsserted;

    /// <summary>Gives the function an INTx pin.</summary>
    /// <param name="pin">1 for INTA# to 4 for INTD#.</param>
    protected void AddInterruptPin(byte pin) => Config.Set8(0x3d, pin);

    /// <summary>Adds an MSI capability with 64-bit addresses.</summary>
    /// <param name="vectors">1, 2, 4, 8, 16 or 32.</param>
    /// <param name="maskable">With per-vector masking.</param>
    protected void AddMsi(int vectors, bool maskable)
    {
        _msi = Config.AddCapability(MsiId, maskable ? 24 : 14);
        _msiMaskable = maskable;
        MsiVectors = vectors;
        Config.Set16(_msi + 2, (ushort)(0x80 | (maskable ? 0x100 : 0) | (int.Log2(vectors) << 1)));
        Config.Writable(_msi + 2, 2, 0x71);
        Config.Writable(_msi + 4, 4, 0xFFFF_FFFC);
        Config.Writable(_msi + 8, 4, 0xFFFF_FFFF);
        Config.Writable(_msi + 12, 2, 0xFFFF);
        if (maskable)
            Config.Writable(_msi + 16, 4, (uint)((1UL << vectors) - 1));
    }

    /// <summary>Adds an MSI-X capability; table and pending bits are handled here.</summary>
    /// <param name="vectors">1 to 2048.</param>
    /// <param name="bar">The BAR that holds both.</param>
    /// <param name="tableOffset">Offset of the table, a multiple of 8.</param>
    /// <param name="pendingOffset">Offset of the pending bits, a multiple of 8 behind the table; null: they follow it.</param>
    protected void AddMsix(int vectors, int bar, ulong tableOffset, ulong? pendingOffset = null)
    {
        _msix = Config.AddCapability(MsixId, 12);
        MsixVectors = vectors;
        _msixBar = bar;
        _msixOffset = tableOffset;
        _msixPendingOffset = pendingOffset ?? (tableOffset + (16 * (ulong)vectors));
        _msixTable = new uint[4 * vectors];
        Config.Set16(_msix + 2, (ushort)(vectors - 1));
        Config.Writable(_msix + 2, 2, 0xC000);
        Config.Set32(_msix + 4, (uint)tableOffset | (uint)bar);
        Config.Set32(_msix + 8, (uint)_msixPendingOffset | (uint)bar);
        ResetInterrupts();
    }

    /// <summary>The model raises an interrupt: MSI-X, else MSI, else the INTx line, as software enabled them.</summary>
    /// <param name="vector">Vector; with fewer vectors enabled it is folded, with INTx it does not matter.</param>
    protected void RaiseInterrupt(int vector = 0)
    {
        if (IsDisconnected)
            return;
        // Whoever the interrupt wakes finds the registers as they are.
        Polled?.Publish();
        if (MsixEnabled)
        {
            if ((uint)vector >= (uint)MsixVectors)
                return;
            if ((_msixTable[(4 * vector) + 3] & 1) != 0 || (Config.Read(_msix + 2, 2) & 0x4000) != 0)
                _msixPending[vector / 64] |= 1UL << (vector % 64);
            else
                Interrupts?.Message(this, vector, _msixTable[4 * vector] | ((ulong)_msixTable[(4 * vector) + 1] << 32), _msixTable[(4 * vector) + 2]);
        }
        else if (MsiEnabled)
        {
            var enabled = 1 << (int)(Config.Read(_msi + 2, 2) >> 4 & 7);
            SendMsi(vector & (Math.Min(enabled, MsiVectors) - 1), enabled);
        }
        else
        {
            _intxWanted = true;
            UpdateInterrupts();
        }
    }

    /// <summary>The model withdraws its INTx line; messages cannot be withdrawn.</summary>
    protected void LowerInterrupt()
    {
        _intxWanted = false;
        UpdateInterrupts();
    }

    private ulong[] _msixPending = [];

    private void SendMsi(int vector, int enabled)
    {
        if (_msiMaskable && (Config.Read(_msi + 16, 4) >> vector & 1) != 0)
        {
            _msiPending |= 1UL << vector;
            Config.Set32(_msi + 20, (uint)_msiPending);
            return;
        }

        var data = Config.Read(_msi + 12, 2);
        data = (data & ~(uint)(enabled - 1)) | (uint)vector;
        Interrupts?.Message(this, vector, Config.Read(_msi + 4, 4) | ((ulong)Config.Read(_msi + 8, 4) << 32), data);
    }

    // After every configuration write: the line follows INTx disable and the message enables, and messages go out that were held back by a mask.
    private void UpdateInterrupts()
    {
        var line = _intxWanted && !MsiEnabled && !MsixEnabled && (Config.Read(PciConfigSpace.Command, 2) & 0x400) == 0;
        var status = (ushort)Config.Read(PciConfigSpace.Status, 2);
        Config.Set16(PciConfigSpace.Status, (ushort)(_intxWanted ? status | 8 : status & ~8));
        if (line != _intxAsserted)
        {
            _intxAsserted = line;
            Interrupts?.Line(this, line);
        }

        if (_msiPending != 0 && MsiEnabled)
        {
            var pending = _msiPending & ~(ulong)Config.Read(_msi + 16, 4);
            _msiPending &= ~pending;
            Config.Set32(_msi + 20, (uint)_msiPending);
            for (; pending != 0; pending &= pending - 1)
                RaiseInterrupt((int)ulong.TrailingZeroCount(pending));
        }

        if (MsixEnabled)
            SendPendingMsix();
    }

    private void SendPendingMsix()
    {
        for (var word = 0; word < _msixPending.Length; word++)
        {
            var pending = _msixPending[word];
            _msixPending[word] = 0;
            for (; pending != 0; pending &= pending - 1)
                RaiseInterrupt((64 * word) + (int)ulong.TrailingZeroCount(pending));
        }
    }

    private bool IsMsixTable(int bar, ulong offset) =>
        bar == _msixBar && (offset - _msixOffset < 16 * (ulong)MsixVectors || offset - _msixPendingOffset < 8 * (ulong)_msixPending.Length);

    private ulong ReadMsix(ulong offset, int bytes)
    {
        if (bytes is not (4 or 8) || offset % (ulong)bytes != 0)
            return ulong.MaxValue;
        var low = MsixWord(offset);
        return bytes == 4 ? low : low | ((ulong)MsixWord(offset + 4) << 32);
    }

    private uint MsixWord(ulong offset)
    {
        var word = (offset - _msixOffset) / 4;
        if (word < (ulong)_msixTable.Length)
            return _msixTable[word];
        word = (offset - _msixPendingOffset) / 4;
        return word / 2 < (ulong)_msixPending.Length ? (uint)(_msixPending[word / 2] >> (int)(32 * (word % 2))) : 0;
    }

    private void WriteMsix(ulong offset, int bytes, ulong value)
    {
        var word = (offset - _msixOffset) / 4;
        if (bytes is not (4 or 8) || offset % (ulong)bytes != 0 || word >= (ulong)_msixTable.Length)
            return;
        _msixTable[word] = (uint)value;
        if (bytes == 8)
            _msixTable[word + 1] = (uint)(value >> 32);
        if (MsixEnabled)
            SendPendingMsix();
    }

    private void ResetInterrupts()
    {
        _intxWanted = false;
        _msiPending = 0;
        _msixPending = new ulong[(MsixVectors + 63) / 64];
        Array.Clear(_msixTable);
        for (var vector = 0; vector < MsixVectors; vector++)
            _msixTable[(4 * vector) + 3] = 1;
        if (_intxAsserted)
        {
            _intxAsserted = false;
            Interrupts?.Line(this, false);
        }
    }
}

using System.Buffers.Binary;
using IommuFd;

namespace RfcFlows;

/// <summary>
/// A page table as a guest would write it, in the guest's memory at guest-physical addresses: four levels of 512 entries and pages of 4 KiB, in one
/// of two formats. x86-64 (Intel SDM 3A 4.5, which VT-d walks as its first stage): bit 0 present, 1 writable, 2 user, 5 accessed, 6 dirty. VMSAv8-64
/// (Arm ARM D8.3): bits 1:0 valid and table or page, 6 unprivileged, 9:8 inner shareable, 10 accessed, with a context descriptor (IHI 0070 5.4) in
/// front of it.
/// </summary>
internal sealed class GuestTable
{
    private const ulong Page = 0x1000, Address = 0x000f_ffff_ffff_f000;

    private readonly DmaBuffer _ram;
    private readonly bool _isArm;
    private readonly ulong _root;
    private ulong _next;

    /// <summary>An empty table.</summary>
    /// <param name="ram">The guest's memory, guest-physical 0 first.</param>
    /// <param name="at">Guest-physical address of the table's pages; 16 pages are free there.</param>
    /// <param name="format">The format.</param>
    public GuestTable(DmaBuffer ram, ulong at, UserTableFormat format)
    {
        _ram = ram;
        _isArm = format == UserTableFormat.ArmContextDescriptors;
        ram.Slice(at, 16 * (int)Page).Clear();
        _root = _isArm ? at + Page : at;
        _next = _root + Page;
        if (_isArm)
        {
            // One context descriptor: 48 bits of input (T0SZ 16), 4 KiB, cacheable, TTB1 off, valid, 48 bits of output, AArch64, access flag as it
            // is, ASID 3, one memory type.
            Write(at, 16UL | (1 << 8) | (1 << 10) | (3 << 12) | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 41) | (7UL << 45) | (3UL << 48));
            Write(at + 8, _root);
            Write(at + 24, 0xff);
        }

        Table = new UserTable(format, at);
    }

    /// <summary>What the IOMMU has to be told of it.</summary>
    public UserTable Table { get; }

    /// <summary>The context descriptor in front of it, as bytes (Arm).</summary>
    public Span<byte> Descriptor => _ram.Slice(Table.Address, 64);

    /// <summary>Lets an address lead to guest-physical memory.</summary>
    public void Map(ulong address, ulong gpa)
    {
        ulong table = _root;
        for (int shift = 39; shift > 12; shift -= 9)
        {
            ulong entry = table + (((address >> shift) & 511) * 8);
            if ((Read(entry) & 1) == 0)
            {
                Write(entry, _next | (_isArm ? 3ul : 0x7));
                _next += Page;
            }

            table = Read(entry) & Address;
        }

        Write(table + (((address >> 12) & 511) * 8), gpa | (_isArm ? 0x743ul : 0x67));
    }

    private ulong Read(ulong gpa) => BinaryPrimitives.ReadUInt64LittleEndian(_ram.Slice(gpa, 8));

    private void Write(ulong gpa, ulong word) => BinaryPrimitives.WriteUInt64LittleEndian(_ram.Slice(gpa, 8), word);
}

/// <summary>A PASID table as a guest would write it on Arm: one context descriptor of 64 bytes for each PASID (IHI 0070 5.4).</summary>
internal sealed class GuestPasidTable
{
    private const int Bits = 4;

    private readonly DmaBuffer _ram;

    /// <summary>An empty table of 16 PASIDs.</summary>
    public GuestPasidTable(DmaBuffer ram, ulong at)
    {
        _ram = ram;
        ram.Slice(at, 64 << Bits).Clear();
        Table = new UserTable(UserTableFormat.ArmContextDescriptors, at) { PasidBits = Bits };
    }

    /// <summary>What the IOMMU has to be told of it.</summary>
    public UserTable Table { get; }

    /// <summary>Lets a PASID (0: requests without one) have a page table; null takes it away.</summary>
    public void Bind(uint pasid, GuestTable? table)
    {
        Span<byte> entry = _ram.Slice(Table.Address + (pasid * 64), 64);
        if (table is null)
        {
            entry.Clear();
            return;
        }

        table.Descriptor.CopyTo(entry);
        entry[6] = (byte)(pasid + 1); // ASID, bits 63:48
    }
}

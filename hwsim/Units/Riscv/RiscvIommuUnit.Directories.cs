using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

// Device directory (section 2.1), process directory (2.2), and their checks.
public sealed partial class RiscvIommuUnit
{
    private const ulong PpnOfPointer = 0x003F_FFFF_FFFF_FC00, PpnOfContext = 0x0FFF_FFFF_FFFF;
    private const ulong EnAts = 1 << 1, EnPri = 1 << 2, T2GpaBit = 1 << 3, Dtf = 1 << 4, Pdtv = 1 << 5, Prpr = 1 << 6, Gade = 1 << 7, Sade = 1 << 8,
        Dpe = 1 << 9, Sxl = 1 << 11;

    private const ulong SecondStageSpace = 1UL << 36, FirstStageSpace = 1UL << 37;

    private RiscvFault FindContext(in DmaRequest request, out RiscvContext? context, out bool faultsDisabled)
    {
        context = null;
        faultsDisabled = false;
        if (_mode == 0)
            return new RiscvFault(RiscvCause.AllDisallowed);
        uint did = request.RequesterId;
        var extended = _options.MsiFlat;
        var leafBits = extended ? 6 : 7;
        var levels = _mode - 1;
        if (did >> (leafBits + (9 * (levels - 1))) != 0)
            return new RiscvFault(RiscvCause.TypeDisallowed);
        var table = _directory;
        for (var level = levels - 1; level > 0; level--)
        {
            var index = did >> (leafBits + (9 * (level - 1))) & 0x1FF;
            if (!Memory.Read64(table + (index * 8), out var entry))
                return new RiscvFault(RiscvCause.DdtLoad);
            if ((entry & 1) == 0)
                return new RiscvFault(RiscvCause.DdtNotValid);
            if ((entry & ~(PpnOfPointer | 1)) != 0)
                return new RiscvFault(RiscvCause.DdtMisconfigured);
            table = (entry & PpnOfPointer) << 2;
        }

        Span<ulong> dc = stackalloc ulong[8];
        var size = extended ? 64u : 32u;
        var at = table + ((did & ((1u << leafBits) - 1)) * size);
        for (var i = 0; i < (int)size / 8; i++)
        {
            if (!Memory.Read64(at + ((ulong)i * 8), out dc[i]))
                return new RiscvFault(RiscvCause.DdtLoad);
        }

        if ((dc[0] & 1) == 0)
            return new RiscvFault(RiscvCause.DdtNotValid);
        if (IsMisconfigured(dc))
            return new RiscvFault(RiscvCause.DdtMisconfigured);
        faultsDisabled = (dc[0] & Dtf) != 0;
        return MakeContext(request, dc, out context);
    }

    // Section 2.1.4: configuration checks.
    private bool IsMisconfigured(ReadOnlySpan<ulong> dc)
    {
        var tc = dc[0];
        var gxl = (Registers[RiscvRegister.fctl] & 4) != 0;
        var secondMode = (int)(dc[1] >> 60);
        var firstMode = (int)(dc[3] >> 60);
        return (tc & 0xFFFF_FFFF_00FF_F400) != 0
            || (dc[2] & 0xFFFF_FFFF_0000_0FFF) != 0
            || (dc[3] & 0x0FFF_F000_0000_0000) != 0
            || ((tc & (EnAts | EnPri | Prpr)) != 0 && !_options.Ats)
            || ((tc & EnAts) == 0 && (tc & (T2GpaBit | EnPri)) != 0)
            || ((tc & EnPri) == 0 && (tc & Prpr) != 0)
            || ((tc & T2GpaBit) != 0 && (!_options.T2Gpa || secondMode == 0))
            || ((tc & Pdtv) == 0 && (tc & Dpe) != 0)
            || ((tc & (Gade | Sade)) != 0 && !_options.HardwareAccessedDirty)
            || (gxl && (tc & Sxl) == 0)
            || ((tc & Pdtv) != 0 ? !IsProcessMode(firstMode) : !IsFirstMode(firstMode, (tc & Sxl) != 0))
            || !IsSecondMode(secondMode, gxl)
            || (secondMode != 0 && (dc[1] & 3) != 0)
            || (_options.MsiFlat && IsMsiMisconfigured(dc, secondMode));
    }

    private static bool IsMsiMisconfigured(ReadOnlySpan<ulong> dc, int secondMode)
    {
        var mode = dc[4] >> 60;
        return mode > 1 || (dc[4] & 0x0FFF_F000_0000_0000) != 0 || (mode == 1 && secondMode == 0) || dc[5] >> 52 != 0
            || dc[6] >> 52 != 0 || dc[7] != 0;
    }

    private bool IsProcessMode(int mode) => mode == 0 || (mode <= 3 && (_options.ProcessDirectories >> (mode - 1) & 1) != 0);

    private bool IsFirstMode(int mode, bool narrow) => mode == 0 || (_options.FirstStage && (narrow ? mode == 8 : mode is >= 8 and <= 10));

    private bool IsSecondMode(int mode, bool narrow) => mode == 0 || (_options.SecondStage && (narrow ? mode == 8 : mode is >= 8 and <= 10));

    private RiscvFault MakeContext(in DmaRequest request, ReadOnlySpan<ulong> dc, out RiscvContext? context)
    {
        context = null;
        var tc = dc[0];
        var narrow = (tc & Sxl) != 0;
        var secondMode = (int)(dc[1] >> 60);
        var gxl = (Registers[RiscvRegister.fctl] & 4) != 0;
        var second = secondMode == 0 ? RiscvStage.Bare : gxl ? RiscvStage.Sv32 : RiscvStage.Sv64;
        var secondGeometry = second == RiscvStage.Sv64 ? RiscV64.SvX4(12 + (9 * (secondMode - 5)), Memory.Options.AddressBits, Features)
            : second == RiscvStage.Sv32 ? RiscV32.Sv32X4() : default;
        var secondRoot = (dc[1] & PpnOfContext) << 12;
        var secondRules = HardwareRules(tc & Gade);

        var fsc = dc[3];
        ulong pscid = dc[2] >> 12 & 0xF_FFFF;
        var supervisor = false;
        var sum = false;
        if ((tc & Pdtv) == 0)
        {
            if (request.Pasid != DmaRequest.NoPasid)
                return new RiscvFault(RiscvCause.TypeDisallowed);
        }
        else if (request.Pasid == DmaRequest.NoPasid && (tc & Dpe) == 0)
        {
            fsc = 0;
        }
        else
        {
            var pid = request.Pasid == DmaRequest.NoPasid ? 0 : request.Pasid;
            var reader = new SecondStageReader(Memory, second, secondGeometry, secondRoot, secondRules);
            var fault = ReadProcess(request, pid, fsc, reader, narrow, out fsc, out var ta);
            if (fault.Cause != RiscvCause.None)
                return fault;
            if (fsc >> 60 != 0 || ta != 0)
            {
                pscid = ta >> 12 & 0xF_FFFF;
                supervisor = (ta & 2) != 0;
                sum = (ta & 4) != 0;
            }
        }

        ReadOnlySpan<ulong> words =
        [
            request.RequesterId | ((ulong)request.Pasid << 32), dc[0], dc[1], dc[2], dc[3], dc[4], dc[5], dc[6], fsc, pscid,
            (gxl ? 1UL : 0) | (supervisor ? 2UL : 0) | (sum ? 4UL : 0),
        ];
        context = _knownContexts.Find(words);
        if (context != null)
            return default;
        var firstMode = (int)(fsc >> 60);
        context = _knownContexts.Add(words, new RiscvContext
        {
            DeviceId = request.RequesterId,
            Pasid = request.Pasid,
            FaultsDisabled = (tc & Dtf) != 0,
            Ats = (tc & EnAts) != 0,
            PageRequests = (tc & EnPri) != 0,
            ResponsesWithPasid = (tc & Prpr) != 0,
            T2Gpa = (tc & T2GpaBit) != 0,
            First = firstMode == 0 ? RiscvStage.Bare : narrow ? RiscvStage.Sv32 : RiscvStage.Sv64,
            FirstTable = firstMode == 0
                ? default
                : FirstTable(firstMode, narrow, second, secondGeometry, (fsc & PpnOfContext) << 12, HardwareRules(tc & Sade)),
            FirstRules = HardwareRules(tc & Sade),
            Second = second,
            SecondTable = second switch
            {
                RiscvStage.Bare => default,
                RiscvStage.Sv32 => DirectTable.Of<RiscV32>(Memory, secondGeometry, secondRoot, secondRules),
                _ => DirectTable.Of<RiscV64>(Memory, secondGeometry, secondRoot, secondRules),
            },
            SecondRules = secondRules,
            SupervisorEnabled = supervisor,
            SupervisorUserAccess = sum,
            MsiTranslation = _options.MsiFlat && dc[4] >> 60 == 1,
            MsiTable = (dc[4] & PpnOfContext) << 12,
            MsiMask = dc[5],
            MsiPattern = dc[6],
            Space = (firstMode == 0 ? 0 : pscid | FirstStageSpace) | (second == RiscvStage.Bare ? 0 : (dc[1] >> 44 & 0xFFFF) << 20 | SecondStageSpace)
                | (firstMode == 0 && second == RiscvStage.Bare ? 1UL << 38 : 0),
        });
        return default;
    }

    private DirectTable FirstTable(int mode, bool narrow, RiscvStage second, in PageTableGeometry secondGeometry, ulong root, WalkAccess rules)
    {
        // A first-stage address is a guest address: whether it is too wide is for the second stage to say.
        var outputBits = second == RiscvStage.Bare ? Memory.Options.AddressBits : Math.Max(56, secondGeometry.InputBits);
        var geometry = narrow ? RiscV32.Sv32() : RiscV64.Sv(12 + (9 * (mode - 5)), outputBits, Features);
        if (second != RiscvStage.Bare)
            return narrow ? DirectTable.Nested<RiscV32>(Memory, geometry, root, rules) : DirectTable.Nested<RiscV64>(Memory, geometry, root, rules);
        return narrow ? DirectTable.Of<RiscV32>(Memory, geometry, root, rules) : DirectTable.Of<RiscV64>(Memory, geometry, root, rules);
    }

    private PageTableFeatures Features => (_options.Napot ? PageTableFeatures.Contiguous : 0) | (_options.Pbmt ? PageTableFeatures.Pbmt : 0);

    private static WalkAccess HardwareRules(ulong enabled) =>
        enabled != 0 ? WalkAccess.UpdateAccessedDirty : WalkAccess.FaultOnClearAccessed | WalkAccess.FaultOnClearDirty;

    // Section 2.2: fsc of the device context is a process directory.
    private RiscvFault ReadProcess(
        in DmaRequest request, uint pid, ulong directory, SecondStageReader reader, bool narrow, out ulong fsc, out ulong ta)
    {
        fsc = 0;
        ta = 0;
        var mode = (int)(directory >> 60);
        if (mode == 0)
            return default;
        var bits = mode switch { 1 => 8, 2 => 17, _ => 20 };
        if (pid >> bits != 0)
            return new RiscvFault(RiscvCause.TypeDisallowed);
        var table = (directory & PpnOfContext) << 12;
        for (var level = mode - 1; level > 0; level--)
        {
            var index = pid >> (8 + (9 * (level - 1))) & 0x1FF;
            var fault = reader.Read(table + (index * 8), out var entry);
            if (fault != WalkFault.None)
                return ProcessFault(request, fault, table + (index * 8));
            if ((entry & 1) == 0)
                return new RiscvFault(RiscvCause.PdtNotValid);
            if ((entry & ~(PpnOfPointer | 1)) != 0)
                return new RiscvFault(RiscvCause.PdtMisconfigured);
            table = (entry & PpnOfPointer) << 2;
        }

        var at = table + ((pid & 0xFF) * 16);
        var error = reader.Read(at, out ta);
        if (error == WalkFault.None)
            error = reader.Read(at + 8, out fsc);
        if (error != WalkFault.None)
            return ProcessFault(request, error, at);
        if ((ta & 1) == 0)
            return new RiscvFault(RiscvCause.PdtNotValid);
        var misconfigured = (ta & 0xFFFF_FFFF_0000_0FF8) != 0 || (fsc & 0x0FFF_F000_0000_0000) != 0 || !IsFirstMode((int)(fsc >> 60), narrow);
        return misconfigured ? new RiscvFault(RiscvCause.PdtMisconfigured) : default;
    }

    private static RiscvFault ProcessFault(in DmaRequest request, WalkFault fault, ulong address) => fault == WalkFault.TableOutsideMemory
        ? new RiscvFault(RiscvCause.PdtLoad)
        : new RiscvFault(ByAccess(request, RiscvCause.ReadGuestPage), (address & ~3UL) | 1);

    private readonly ref struct SecondStageReader(PhysicalMemory memory, RiscvStage stage, PageTableGeometry geometry, ulong root, WalkAccess rules)
    {
        private readonly PageTableGeometry _geometry = geometry;

        public WalkFault Read(ulong address, out ulong value)
        {
            value = 0;
            if (stage != RiscvStage.Bare)
            {
                var reader = new DirectTableReader(memory);
                var ok = stage == RiscvStage.Sv32
                    ? TableWalk.Walk<RiscV32, DirectTableReader>(_geometry, root, ref reader, address, WalkAccess.Read | rules, out var result)
                    : TableWalk.Walk<RiscV64, DirectTableReader>(_geometry, root, ref reader, address, WalkAccess.Read | rules, out result);
                if (!ok)
                    return result.Fault;
                address = result.Output;
            }

            return memory.Read64(address, out value) ? WalkFault.None : WalkFault.TableOutsideMemory;
        }
    }
}

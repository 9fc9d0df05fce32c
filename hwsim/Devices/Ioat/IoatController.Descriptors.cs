using System.Runtime.InteropServices;
using IommuFd.HwSim.Units;
using static IommuFd.HwSim.Devices.Ioat.IoatRegister;

namespace IommuFd.HwSim.Devices.Ioat;

// Descriptors: a chain in memory, of which DMACOUNT says how many may be executed since CHAINADDR was written.
public sealed unsafe partial class IoatController
{
    [StructLayout(LayoutKind.Sequential, Size = 64)]
    private struct Descriptor
    {
        public uint Size, Control;
        public ulong Source, Destination, Next;
    }

    private void Announce(Channel channel, ushort count)
    {
        SetCount(channel, count);
        if (_registers[(channel.Base + CHANERR) / 4] != 0)
            return;
        if (channel.Status == IoatStatus.Suspended && channel.Executed == 0)
            channel.Next = Register64(channel, CHAINADDR);
        while (channel.Executed != count)
        {
            uint error = Execute(channel, out uint control);
            if (error != 0)
            {
                Halt(channel, error);
                return;
            }

            channel.Executed++;
            bool isLast = channel.Executed == count;
            SetStatus(channel, isLast ? IoatStatus.Done : IoatStatus.Active);
            if ((control & CompletionWrite) != 0 && !WriteCompletion(channel))
            {
                Halt(channel, CompletionAddressError);
                return;
            }

            if ((control & InterruptOnCompletion) != 0)
                Interrupt(channel);
        }
    }

    private uint Execute(Channel channel, out uint control)
    {
        Descriptor descriptor;
        control = 0;
        if (channel.Next % 64 != 0)
            return ChainAddressError;
        // SAFETY: 64 bytes on this stack.
        if (DmaRead(channel.Next, &descriptor, 64) != DmaStatus.Success)
            return NextAddressError;
        control = descriptor.Control;
        uint error = (control & NullDescriptor) != 0 ? 0 : Move(descriptor);
        if (error != 0)
            return error;
        (channel.Completed, channel.Next) = (channel.Next, descriptor.Next);
        return 0;
    }

    private uint Move(in Descriptor descriptor)
    {
        uint operation = descriptor.Control >> 24;
        if (operation is not (OpCopy or OpFill))
            return DescriptorControlError;
        if (descriptor.Size is 0 or > 1 << TransferLg2)
            return DescriptorLengthError;
        // SAFETY: the buffer is pinned and a piece is never longer.
        fixed (byte* buffer = _buffer)
        {
            if (operation == OpFill)
                MemoryMarshal.Cast<byte, ulong>(_buffer.AsSpan()).Fill(descriptor.Source);
            for (uint done = 0; done < descriptor.Size;)
            {
                uint part = Math.Min(descriptor.Size - done, Piece);
                if (operation == OpCopy && DmaRead(descriptor.Source + done, buffer, part) != DmaStatus.Success)
                    return ReadDataError;
                if (DmaWrite(descriptor.Destination + done, buffer, part) != DmaStatus.Success)
                    return WriteDataError;
                done += part;
            }
        }

        return 0;
    }

    private bool WriteCompletion(Channel channel)
    {
        ulong status = Register64(channel, CHANSTS);
        return DmaWrite(Register64(channel, CHANCMP) & ~7UL, &status, 8) == DmaStatus.Success;
    }

    private void Halt(Channel channel, uint error)
    {
        _registers[(channel.Base + CHANERR) / 4] |= error;
        SetStatus(channel, IoatStatus.Halted);
        uint control = _registers[(channel.Base + CHANCTRL) / 4];
        if ((control & ErrorCompletionEnable) != 0)
            _ = WriteCompletion(channel);
        if ((control & ErrorInterruptEnable) != 0)
            Interrupt(channel);
    }

    // Each rearming is good for one interrupt.
    private void Interrupt(Channel channel)
    {
        if (!channel.IsArmed)
            return;
        channel.IsArmed = false;
        _registers[ATTNSTATUS / 4] |= 1u << channel.Index;
        uint control = _registers[0] >> 24;
        if (MsixEnabled && (control & (MsixVectorControl | MasterInterruptEnable)) != 0)
            RaiseInterrupt((control & MsixVectorControl) != 0 ? channel.Index : 0);
    }
}

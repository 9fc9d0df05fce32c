using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.Tests;

/// <summary>The migration state machine and DMA logging, with the mediated serial ports of mtty.</summary>
public sealed class MigrationTests : IDisposable
{
    private readonly Simulated _machine = new();
    private readonly IommuContext _context;
    private readonly BoundDevice _source, _target;

    public MigrationTests()
    {
        _context = _machine.Host.OpenContext();
        _source = Open(1);
        _target = Open(2);
    }

    public void Dispose()
    {
        _source.Dispose();
        _target.Dispose();
        _context.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void State_moves_from_one_device_to_another()
    {
        using Migration from = _source.OpenMigration(), to = _target.OpenMigration();
        Assert.True(from.HasPreCopy && from.HasPeerToPeer);
        using (Bar port = _source.OpenBar(0))
        {
            port.Write8(7, 0xc3); // the scratch register
        }

        Assert.Equal(vfio_device_mig_state.VFIO_DEVICE_STATE_RUNNING, from.State);
        Assert.InRange(from.GetDataSize(), 1u, 65536u);
        Assert.Null(from.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_STOP));
        byte[] state = new byte[65536];
        int length = 0;
        using (MigrationStream saving = from.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_STOP_COPY)!)
        {
            for (int read; (read = saving.Read(state.AsSpan(length))) != 0; length += read)
            {
                Assert.True(read > 0);
            }
        }

        Assert.Null(to.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_STOP));
        using (MigrationStream resuming = to.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_RESUMING)!)
        {
            Assert.Equal(length, resuming.Write(state.AsSpan(0, length)));
        }

        Assert.Null(to.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_RUNNING));
        Assert.Equal(vfio_device_mig_state.VFIO_DEVICE_STATE_RUNNING, to.State);
        using Bar moved = _target.OpenBar(0);
        Assert.Equal(0xc3, moved.Read8(7));
    }

    [Fact]
    public void Precopy_says_how_much_is_left_and_stopping_goes_on_with_the_same_stream()
    {
        using Migration migration = _source.OpenMigration();
        using MigrationStream stream = migration.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_PRE_COPY)!;
        stream.GetPrecopyInfo(out ulong initial, out ulong dirty);
        Assert.Equal(0u, dirty);
        byte[] bytes = new byte[4096];
        int first = stream.Read(bytes);
        Assert.Equal(initial, (ulong)first);
        Assert.Equal(0, stream.Read(bytes)); // nothing more for now
        Assert.Null(migration.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_STOP_COPY));
        Assert.NotEqual(0, stream.Read(bytes));
        Assert.Equal(Errno.EINVAL, Assert.Throws<IommuFdException>(() => stream.GetPrecopyInfo(out _, out _)).Errno);
    }

    [Fact]
    public void There_is_no_way_from_running_to_resuming_past_an_open_stream_that_is_wrong()
    {
        using Migration migration = _target.OpenMigration();
        using MigrationStream resuming = migration.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_RESUMING)!;
        _ = Assert.Throws<IommuFdException>(() => resuming.Write(new byte[64]));
        Assert.Throws<IommuFdException>(() => migration.SetState(vfio_device_mig_state.VFIO_DEVICE_STATE_RUNNING));
        _target.Reset();
        Assert.Equal(vfio_device_mig_state.VFIO_DEVICE_STATE_RUNNING, migration.State);
    }

    [Fact]
    public void A_device_notes_itself_what_it_writes()
    {
        ulong[] bitmap = new ulong[4];
        ulong size = _source.Calls.StartDmaLogging(4096, new IovaRange(0x100000, 0x1fffff));
        Assert.True(ulong.IsPow2(size));
        _source.Calls.ReportDmaLogging(0x100000, 0x100000, 4096, bitmap);
        Assert.All(bitmap, static word => Assert.Equal(0ul, word)); // a serial port does no DMA
        Assert.Throws<ArgumentException>(() => _source.Calls.ReportDmaLogging(0x100000, 0x100000, 4096, new ulong[3]));
        _source.Calls.StopDmaLogging();
        Assert.Equal(Errno.ENOTTY, Assert.Throws<IommuFdException>(() => Edu().Calls.StartDmaLogging(4096, new IovaRange(0, 0xfff))).Errno);
    }

    private BoundDevice Edu() => _machine.Host.OpenDevice(Simulated.Edu).Bind(_context, cookie: 9);

    private BoundDevice Open(int number)
    {
        string name = $"83b8f4f2-509f-382f-3c1e-e6bfe0fa100{number}";
        Assert.True(_machine.Machine.Sysfs.WriteText("/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create", name) >= 0);
        Assert.True(_machine.Machine.Sysfs.List($"/sys/bus/mdev/devices/{name}/vfio-dev", out string[] nodes) >= 0);
        return _machine.Host.OpenDevice($"/dev/vfio/devices/{nodes[0]}").Bind(_context, cookie: (ulong)number);
    }
}

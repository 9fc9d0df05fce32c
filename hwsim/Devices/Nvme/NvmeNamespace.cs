using System.IO.MemoryMappedFiles;

namespace IommuFd.HwSim.Devices.Nvme;

/// <summary>
/// The bytes of a namespace, in memory or in a file that is mapped. Does not model: a volatile write cache; without a file a flush has nothing to do.
/// </summary>
internal sealed unsafe class NvmeNamespace : IDisposable
{
    private readonly Lock _gate = new();
    private readonly string? _file;
    private MemoryMappedFile? _mapped;
    private MemoryMappedViewAccessor? _view;
    private byte* _bytes;

    public NvmeNamespace(string? file, long size)
    {
        _file = file;
        Size = (file is null ? size : new FileInfo(file).Length) / NvmeController.BlockSize * NvmeController.BlockSize;
    }

    public long Size { get; }

    public ulong Blocks => (ulong)Size / NvmeController.BlockSize;

    /// <summary>The first byte; memory is taken at the first use.</summary>
    public byte* Bytes
    {
        get
        {
            if (_bytes != null)
                return _bytes;
            lock (_gate)
            {
                if (_bytes != null)
                    return _bytes;
                _mapped = _file is null ? MemoryMappedFile.CreateNew(null, Size) : MemoryMappedFile.CreateFromFile(_file, FileMode.Open);
                _view = _mapped.CreateViewAccessor(0, Size);
                // SAFETY: the view lives until Dispose, and so does the pointer.
                byte* bytes = null;
                _view.SafeMemoryMappedViewHandle.AcquirePointer(ref bytes);
                _bytes = bytes;
            }

            return _bytes;
        }
    }

    public void Flush()
    {
        if (_file is not null)
            _view?.Flush();
    }

    public void Dispose()
    {
        if (_bytes != null)
            _view!.SafeMemoryMappedViewHandle.ReleasePointer();
        _bytes = null;
        _view?.Dispose();
        _mapped?.Dispose();
        (_view, _mapped) = (null, null);
    }
}

using System.Text;
using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>
/// A store in a directory (the command uses <see cref="DefaultDirectory"/>, which a reboot empties as it empties the bindings): one file per
/// remembered function, a file <c>transaction</c> while a change is under way, and a lock that dies with its process. Files are written whole and
/// renamed into place.
/// </summary>
/// <param name="directory">The directory; made when first written to.</param>
public sealed class DirectoryBindingStore(string directory) : IBindingStore, IDisposable
{
    /// <summary>Where the command keeps its store.</summary>
    public const string DefaultDirectory = "/run/vfio";

    private readonly string _transaction = Path.Combine(directory, "transaction");
    private FileStream? _lock;

    /// <inheritdoc/>
    public int Begin(IReadOnlyList<OriginalBinding> before)
    {
        int result = Lock();
        if (result < 0)
        {
            return result;
        }

        try
        {
            WriteWhole(_transaction, string.Concat(before.Select(Line)));
            return 0;
        }
        catch (UnauthorizedAccessException)
        {
            Unlock();
            return -Errno.EACCES;
        }
        catch (IOException)
        {
            Unlock();
            return -Errno.EIO;
        }
    }

    /// <inheritdoc/>
    public void Commit()
    {
        File.Delete(_transaction);
        Unlock();
    }

    /// <inheritdoc/>
    public void Remember(OriginalBinding original)
    {
        _ = Directory.CreateDirectory(directory);
        WriteWhole(FileOf(original.Address), Line(original));
    }

    /// <inheritdoc/>
    public OriginalBinding? Recall(PciAddress address) => Read(FileOf(address)).FirstOrDefault();

    /// <inheritdoc/>
    public void Forget(PciAddress address)
    {
        if (Directory.Exists(directory))
        {
            File.Delete(FileOf(address));
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<OriginalBinding> Remembered() => !Directory.Exists(directory)
        ? []
        : [.. Directory.GetFiles(directory)
            .Where(static file => PciAddress.TryParse(Path.GetFileName(file), out _))
            .SelectMany(Read)
            .OrderBy(static original => original.Address)];

    /// <inheritdoc/>
    /// <remarks>Whoever holds the lock is alive, so a transaction under another process's lock is not unfinished but under way.</remarks>
    public IReadOnlyList<OriginalBinding> Unfinished()
    {
        List<OriginalBinding> before = Read(_transaction);
        if (before.Count == 0 || _lock is not null)
        {
            return before;
        }

        int locked = Lock();
        if (locked == 0)
        {
            before = Read(_transaction);
            Unlock();
        }

        return locked == -Errno.EBUSY ? [] : before;
    }

    /// <summary>Lets go of the lock; an open transaction stays in the directory.</summary>
    public void Dispose() => Unlock();

    private int Lock()
    {
        try
        {
            _ = Directory.CreateDirectory(directory);

            // FileShare.None is flock(LOCK_EX | LOCK_NB): the kernel drops it when the process dies, however it dies.
            _lock ??= new FileStream(Path.Combine(directory, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            return 0;
        }
        catch (UnauthorizedAccessException)
        {
            return -Errno.EACCES;
        }
        catch (IOException)
        {
            return -Errno.EBUSY;
        }
    }

    private void Unlock()
    {
        _lock?.Dispose();
        _lock = null;
    }

    private string FileOf(PciAddress address) => Path.Combine(directory, address.ToString());

    // address TAB driver TAB override; names of drivers hold neither tabs nor newlines.
    private static string Line(OriginalBinding original) => $"{original.Address}\t{original.Driver}\t{original.Override}\n";

    private static List<OriginalBinding> Read(string file)
    {
        List<OriginalBinding> found = [];
        string text;
        try
        {
            text = File.Exists(file) ? File.ReadAllText(file, Encoding.UTF8) : "";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return found;
        }

        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] fields = line.Split('\t');
            if (fields.Length == 3 && PciAddress.TryParse(fields[0], out PciAddress address))
            {
                found.Add(new OriginalBinding(address, NullIfEmpty(fields[1]), NullIfEmpty(fields[2])));
            }
        }

        return found;
    }

    private static string? NullIfEmpty(string text) => text.Length == 0 ? null : text;

    private static void WriteWhole(string file, string text)
    {
        string temporary = file + ".new";
        File.WriteAllText(temporary, text, Encoding.UTF8);
        File.Move(temporary, file, overwrite: true);
    }
}

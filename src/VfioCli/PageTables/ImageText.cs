using IommuFd.HwSim;
using VfioCli.CommandLine;

namespace VfioCli.PageTables;

/// <summary>Memory images as typed: <c>FILE[@ADDR]</c>, several separated by commas.</summary>
internal static class ImageText
{
    /// <summary>Reads the files.</summary>
    /// <exception cref="CommandFailure">A file cannot be read, or does not fit where it should go.</exception>
    public static MemoryImage Open(string text)
    {
        MemoryImage image = new();
        try
        {
            foreach (string part in text.Split(','))
            {
                int at = part.LastIndexOf('@');
                string file = at < 0 ? part : part[..at];
                ulong address = at < 0 ? 0 : NumberText.Parse(part[(at + 1)..], "the address of the image");
                if (!image.TryAdd(address, Read(file)))
                {
                    throw new CommandFailure(ExitCode.Usage, $"{file} cannot be put at 0x{address:x}.",
                        "An image is not empty, lies below 0xffffbfffe00000 and overlaps no other.");
                }
            }

            return image;
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    private static byte[] Read(string file)
    {
        try
        {
            return File.ReadAllBytes(file);
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CommandFailure(ExitCode.NotFound, $"there is no file '{file}'.", "An image is named FILE or FILE@ADDR.");
        }
        catch (UnauthorizedAccessException)
        {
            throw new CommandFailure(ExitCode.Permission, $"'{file}' cannot be read by this user.", "Name a readable file.");
        }
        catch (IOException exception)
        {
            throw new CommandFailure(ExitCode.Usage, $"'{file}' cannot be read: {exception.Message}",
                "Images are read whole, up to 2 GiB; cut out the part that holds the tables.");
        }
    }
}

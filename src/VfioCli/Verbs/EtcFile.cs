namespace VfioCli.Verbs;

/// <summary>Files of this command under /etc: written whole, complaints in one sentence.</summary>
internal static class EtcFile
{
    /// <summary>Writes a file and the directories above it.</summary>
    /// <exception cref="CommandFailure">It cannot be written.</exception>
    public static void Write(string path, string text) => Guard(path, () =>
    {
        _ = Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path + ".new", text);
        File.Move(path + ".new", path, overwrite: true);
    });

    /// <summary>Deletes a file that may be absent.</summary>
    /// <exception cref="CommandFailure">It cannot be deleted.</exception>
    public static void Delete(string path) => Guard(path, () =>
    {
        if (File.Exists(path))
        {
            File.Delete(path);
        }
    });

    private static void Guard(string path, Action action)
    {
        try
        {
            action();
        }
        catch (UnauthorizedAccessException)
        {
            throw new CommandFailure(ExitCode.Permission, $"this user may not write {path}.", "Run the command as root, or give --root DIR.");
        }
        catch (IOException exception)
        {
            throw new CommandFailure(ExitCode.Refused, $"{path} cannot be written: {exception.Message.TrimEnd('.')}.",
                "Give --root DIR to write below another directory.");
        }
    }
}

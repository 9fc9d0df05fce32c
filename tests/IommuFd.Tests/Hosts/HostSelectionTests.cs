using IommuFd.Native;

namespace IommuFd.Tests;

public sealed class HostSelectionTests
{
    [Fact]
    public void Words_and_paths_are_told_apart()
    {
        Assert.Equal(HostSelection.Auto, HostSelection.Parse("auto"));
        Assert.Equal(HostKind.Kernel, HostSelection.Parse("kernel").Kind);
        Assert.Equal(HostKind.Simulator, HostSelection.Parse("sim").Kind);
        Assert.Equal(new HostSelection(HostKind.Capture, "/tmp/x.tar"), HostSelection.Parse("/tmp/x.tar"));
    }

    [Fact]
    public void The_kernel_can_be_insisted_on()
    {
        using IommuHost host = IommuHost.Open(HostSelection.Kernel);
        Assert.Equal(HostKind.Kernel, host.Kind);
        Assert.False(host.IsFallback);
        Assert.Equal("the kernel was asked for", host.Reason);
    }

    [Fact]
    public void A_capture_that_cannot_be_read_is_one_sentence_with_a_remedy()
    {
        IommuFdException refused = Assert.Throws<IommuFdException>(() => IommuHost.Open(HostSelection.Capture("/nonexistent/capture.tar")));
        Assert.Equal(FailureCause.BadHostDescription, refused.Cause);
        Assert.Contains("/nonexistent/capture.tar", refused.Message, StringComparison.Ordinal);
        Assert.NotEmpty(refused.Remedy);
    }
}

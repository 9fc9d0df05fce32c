using System.Globalization;
using IommuFd;
using IommuFd.Sysfs;
using VfioCli.CommandLine;
using VfioCli.Diagnosis;
using VfioCli.Faults;
using VfioCli.Output;
using VfioCli.SelfTests;

namespace VfioCli.Verbs;

/// <summary>What <c>vfio attach</c> says.</summary>
internal sealed class AttachReport(Session session, Attached attached, BorrowedDrivers borrowed)
{
    /// <summary>The self-tests that were run.</summary>
    public List<(BoundDevice Device, string Name, IReadOnlyList<SelfTestStep> Steps)> SelfTests { get; } = [];

    /// <summary>What the kernel logged about the functions during the self-test: the unmapped IOVA should be here.</summary>
    public IReadOnlyList<(FaultRecord Fault, int Count)> Faults { get; set; } = [];

    /// <summary>Whether no self-test failed.</summary>
    public bool Passed => SelfTests.All(static test => test.Steps.All(static step => step.Passed));

    /// <summary>Prints it.</summary>
    public void Print()
    {
        if (session.Terminal.Json)
        {
            WriteJson();
            return;
        }

        foreach (DriverPlan plan in borrowed.Taken)
        {
            Field("driver", $"{plan.Address}: {plan.Before.Driver ?? "no driver"} -> {plan.Driver} for the time of this command");
        }

        Field("context", IsContainer ? "/dev/vfio/vfio, a container for each group" : "/dev/iommu");
        for (int i = 0; i < attached.Devices.Count; i++)
        {
            BoundDevice device = attached.Devices[i];
            Field("bind",
                $"{device.Address}: {(IsContainer ? $"group {session.Bus.Find(device.Address!.Value)?.Group}" : $"device id {device.DeviceId}")},"
                    + $" cookie {device.Cookie}");
            Field("attach",
                $"{device.Address}: "
                    + (IsContainer ? "its group's container" : $"address space {attached.Space.Id}, page table {attached.Attachments[i].TableId}"));
            Field("format", $"{device.Address}: {PageTableText.Of(device)}");
        }

        foreach (IovaRange range in attached.Space.PermittedRanges)
        {
            Field("IOVA", range.ToString());
        }

        Field("IOVA", $"aligned to {NumberText.Size(attached.Space.Alignment)}");
        foreach (Mapping mapping in attached.Mappings)
        {
            Field("map",
                $"0x{mapping.Iova:x} {NumberText.Size(mapping.Length)}, read and write, pages of {NumberText.Size(mapping.Buffer.PageSize)}");
        }

        foreach ((BoundDevice device, string name, IReadOnlyList<SelfTestStep> steps) in SelfTests)
        {
            foreach (SelfTestStep step in steps)
            {
                Field("self-test", $"{name} {device.Address}: {step.Name}: {(step.Passed ? "ok" : "FAILED")}: {step.Detail}");
            }
        }

        foreach ((FaultRecord fault, int count) in Faults)
        {
            Field("fault log",
                string.Create(CultureInfo.InvariantCulture,
                    $"{fault.Family} {fault.Code}: {fault.Device} {fault.Access} of 0x{fault.Address:x}:"
                        + $" {fault.Reason}{(count == 1 ? "" : $", {count} times")}"));
        }

        if (SelfTests.Count > 0)
        {
            int all = SelfTests.Sum(static test => test.Steps.Count),
                passed = SelfTests.Sum(static test => test.Steps.Count(static step => step.Passed));
            session.Terminal.Line(string.Create(CultureInfo.InvariantCulture,
                $"self-test: {(passed == all ? "passed" : "FAILED")}, {passed} of {all} checks"));
        }
    }

    private bool IsContainer => attached.Context.Kind == ContextKind.Container;

    private void Field(string name, string value) => session.Terminal.Line($"{name,-11}{value}");

    private void WriteJson() => session.WriteJson("vfio.attach/1", writer =>
    {
        writer.WriteString("interface", attached.Context.Kind.ToString().ToLowerInvariant());
        writer.WriteStartArray("devices");
        for (int i = 0; i < attached.Devices.Count; i++)
        {
            BoundDevice device = attached.Devices[i];
            DriverPlan? taken = borrowed.Taken.FirstOrDefault(plan => plan.Address == device.Address);
            writer.WriteStartObject();
            writer.WriteString("address", device.Address?.ToString());
            writer.WriteBoolean("borrowed", taken is not null);
            writer.WriteString("driverBefore", taken?.Before.Driver);
            writer.WriteNumber("deviceId", device.DeviceId);
            writer.WriteHex("cookie", device.Cookie);
            writer.WriteNumber("pageTable", attached.Attachments[i].TableId);
            writer.WriteString("format", PageTableText.Of(device));
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteStartObject("addressSpace");
        writer.WriteNumberOrNull("id", IsContainer ? null : attached.Space.Id);
        writer.WriteNumber("alignment", attached.Space.Alignment);
        writer.WriteStartArray("permittedRanges");
        foreach (IovaRange range in attached.Space.PermittedRanges)
        {
            writer.WriteStartObject();
            writer.WriteHex("first", range.Start);
            writer.WriteHex("last", range.Last);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteStartArray("mappings");
        foreach (Mapping mapping in attached.Mappings)
        {
            writer.WriteStartObject();
            writer.WriteHex("iova", mapping.Iova);
            writer.WriteNumber("length", mapping.Length);
            writer.WriteNumber("pageSize", mapping.Buffer.PageSize);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.WriteStartArray("selfTests");
        foreach ((BoundDevice device, string name, IReadOnlyList<SelfTestStep> steps) in SelfTests)
        {
            writer.WriteStartObject();
            writer.WriteString("address", device.Address?.ToString());
            writer.WriteString("device", name);
            writer.WriteBoolean("passed", steps.All(static step => step.Passed));
            writer.WriteStartArray("checks");
            foreach (SelfTestStep step in steps)
            {
                writer.WriteStartObject();
                writer.WriteString("name", step.Name);
                writer.WriteBoolean("passed", step.Passed);
                writer.WriteString("detail", step.Detail);
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteStartArray("faults");
        foreach ((FaultRecord fault, int count) in Faults)
        {
            FaultVerb.Write(writer, fault, count);
        }

        writer.WriteEndArray();
    });
}

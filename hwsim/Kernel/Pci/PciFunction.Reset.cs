using IommuFd.Native;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>Ways to reset a function, in the kernel's order of preference.</summary>
internal enum PciResetMethod
{
    /// <summary>PCI Express function-level reset.</summary>
    Flr,

    /// <summary>Function-level reset of the advanced features capability.</summary>
    AfFlr,

    /// <summary>D3hot and back, when that loses the state.</summary>
    Pm,

    /// <summary>Reset of the bus that the function is alone on.</summary>
    Bus,
}

internal sealed partial class PciFunction
{
    private static readonly string[] s_methodNames = ["flr", "af_flr", "pm", "bus"];

    /// <summary>The methods that are tried, in order; empty when the function cannot be reset (pci_reset_supported).</summary>
    public List<PciResetMethod> ResetMethods { get; } = [];

    /// <summary>The functions of a bus; set by whoever owns the buses.</summary>
    public Func<PciFunction, IReadOnlyList<PciFunction>> BusMates { get; set; } = static _ => [];

    /// <summary>pci_init_reset_methods: what the function had when it was found. A function found first is still alone on its bus.</summary>
    public void InitResetMethods()
    {
        ResetMethods.Clear();
        foreach (PciResetMethod method in Enum.GetValues<PciResetMethod>())
        {
            if (CanReset(method))
            {
                ResetMethods.Add(method);
            }
        }
    }

    /// <summary>The reset_method attribute.</summary>
    public string ShowResetMethods() => string.Join(' ', ResetMethods.Select(static m => s_methodNames[(int)m])) + "\n";

    /// <summary>Writing the reset_method attribute: names, "default", or nothing for no method at all.</summary>
    public int StoreResetMethods(string text)
    {
        string trimmed = text.TrimEnd('\n');
        if (trimmed.Length == 0)
        {
            ResetMethods.Clear();
            return 0;
        }

        if (trimmed == "default")
        {
            InitResetMethods();
            return 0;
        }

        var wanted = new List<PciResetMethod>();
        foreach (string name in trimmed.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            int method = Array.IndexOf(s_methodNames, name.Trim());
            if (method < 0 || !CanReset((PciResetMethod)method))
            {
                return -Errno.EINVAL;
            }

            if (!wanted.Contains((PciResetMethod)method))
            {
                wanted.Add((PciResetMethod)method);
            }
        }

        ResetMethods.Clear();
        ResetMethods.AddRange(wanted);
        return 0;
    }

    /// <summary>pci_reset_function: state is saved, the function reset, state restored. 0 or -ENOTTY.</summary>
    public int ResetFunction()
    {
        if (ResetMethods.Count == 0)
        {
            return -Errno.ENOTTY;
        }

        SaveState();
        Write(PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
        int result = ResetHardware();
        RestoreState();
        return result;
    }

    /// <summary>__pci_reset_function_locked: the first method that works, without saving anything.</summary>
    public int ResetHardware()
    {
        foreach (PciResetMethod method in ResetMethods)
        {
            if (CanReset(method))
            {
                Hardware.Reset();
                return 0;
            }
        }

        return -Errno.ENOTTY;
    }

    /// <summary>pci_probe_reset_bus for the function's bus: there is a bridge above that can reset it.</summary>
    public bool CanResetBus => Bridge is not null;

    private bool CanReset(PciResetMethod method) => method switch
    {
        PciResetMethod.Flr => Express != 0 && (Read(Express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR) != 0,
        PciResetMethod.AfFlr => AdvancedFeatures != 0
            && (Read(AdvancedFeatures + PCI_AF_CAP, 1) & (PCI_AF_CAP_TP | PCI_AF_CAP_FLR)) == (PCI_AF_CAP_TP | PCI_AF_CAP_FLR),
        PciResetMethod.Pm => Pm != 0 && !IsVirtual && (Read(Pm + PCI_PM_CTRL, 2) & PCI_PM_CTRL_NO_SOFT_RESET) == 0,
        _ => !IsOnRootBus && Topology.SecondaryBus is null && BusMates(this).All(other => other == this),
    };
}

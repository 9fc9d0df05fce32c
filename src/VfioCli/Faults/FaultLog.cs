namespace VfioCli.Faults;

/// <summary>Finds fault lines of all families in a log.</summary>
internal static class FaultLog
{
    /// <summary>The faults, in the order of the lines, equal ones counted once.</summary>
    public static IReadOnlyList<(FaultRecord Fault, int Count)> Parse(IEnumerable<string> lines)
    {
        List<(FaultRecord Fault, int Count)> faults = [];
        SmmuFaults smmu = new();
        foreach (string line in lines)
        {
            Add(VtdFaults.Parse(line) ?? AmdFaults.Parse(line) ?? RiscvFaults.Parse(line) ?? smmu.Next(line));
        }

        Add(smmu.Take());
        return faults;

        void Add(FaultRecord? fault)
        {
            if (fault is null)
            {
                return;
            }

            int known = faults.FindIndex(each => each.Fault == fault);
            if (known < 0)
            {
                faults.Add((fault, 1));
            }
            else
            {
                faults[known] = (fault, faults[known].Count + 1);
            }
        }
    }
}

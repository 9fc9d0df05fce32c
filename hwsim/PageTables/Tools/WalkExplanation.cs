namespace IommuFd.HwSim.PageTables;

/// <summary>An entry in words.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Fields">Its fields, name and value.</param>
/// <param name="Verdict">What a walk does with it, one sentence.</param>
public sealed record EntryExplanation(EntryKind Kind, IReadOnlyList<(string Name, string Value)> Fields, string Verdict);

/// <summary>One step of a walk.</summary>
/// <param name="Step">The entry that was looked at.</param>
/// <param name="HighBit">Highest input-address bit of the index.</param>
/// <param name="LowBit">Lowest.</param>
/// <param name="Entry">The entry in words.</param>
public sealed record StepExplanation(WalkStep Step, int HighBit, int LowBit, EntryExplanation Entry);

/// <summary>A walk in words.</summary>
/// <param name="Steps">From the root down.</param>
/// <param name="Result">How it ended.</param>
/// <param name="Verdict">How it ended, one sentence.</param>
public sealed record WalkExplanation(IReadOnlyList<StepExplanation> Steps, WalkResult Result, string Verdict);

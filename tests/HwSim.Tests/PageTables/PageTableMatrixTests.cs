using Xunit;

namespace HwSim.Tests.PageTables;

/// <summary>The same properties for every format in every configuration.</summary>
public sealed class PageTableMatrixTests
{
    public static IEnumerable<TheoryDataRow<FormatCase>> All => FormatMatrix.All;

    [Theory, MemberData(nameof(All))]
    public void Every_page_size_maps_and_reads_back_at_the_edges_of_the_output_space(FormatCase format) =>
        format.Every_page_size_maps_and_reads_back_at_the_edges_of_the_output_space();

    [Theory, MemberData(nameof(All))]
    public void The_tables_cover_exactly_the_advertised_addresses(FormatCase format) => format.The_tables_cover_exactly_the_advertised_addresses();

    [Theory, MemberData(nameof(All))]
    public void Every_item_of_a_page_translates_to_its_own_address(FormatCase format) => format.Every_item_of_a_page_translates_to_its_own_address();

    [Theory, MemberData(nameof(All))]
    public void Attributes_survive_decoding_and_encoding(FormatCase format) => format.Attributes_survive_decoding_and_encoding();

    [Theory, MemberData(nameof(All))]
    public void A_thousand_random_maps_and_unmaps_agree_with_a_dictionary(FormatCase format) =>
        format.A_thousand_random_maps_and_unmaps_agree_with_a_dictionary();

    [Theory, MemberData(nameof(All))]
    public void Mapping_over_a_page_is_EADDRINUSE_and_changes_nothing(FormatCase format) =>
        format.Mapping_over_a_page_is_EADDRINUSE_and_changes_nothing();

    [Theory, MemberData(nameof(All))]
    public void Unmapping_the_start_of_a_large_page_removes_it_whole(FormatCase format) =>
        format.Unmapping_the_start_of_a_large_page_removes_it_whole();

    [Theory, MemberData(nameof(All))]
    public void Mixed_sizes_use_the_largest_pages_possible(FormatCase format) => format.Mixed_sizes_use_the_largest_pages_possible();

    [Theory, MemberData(nameof(All))]
    public void A_large_page_takes_the_place_of_an_empty_table(FormatCase format) => format.A_large_page_takes_the_place_of_an_empty_table();

    [Theory, MemberData(nameof(All))]
    public void Reserved_and_random_entries_end_in_a_fault_or_a_translation_never_elsewhere(FormatCase format) =>
        format.Reserved_and_random_entries_end_in_a_fault_or_a_translation_never_elsewhere(20_000);

    [Theory, MemberData(nameof(All))]
    public void A_quick_walk_and_one_field_by_field_have_the_same_outcome(FormatCase format) =>
        format.A_quick_walk_and_one_field_by_field_have_the_same_outcome();

    [Theory, MemberData(nameof(All))]
    public void Dirty_state_is_read_and_cleared(FormatCase format) => format.Dirty_state_is_read_and_cleared();
}

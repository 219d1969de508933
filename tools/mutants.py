#!/usr/bin/env python3
"""Shows that the tests can fail: plants each bug of src/base/mutant.h in turn and wants a test to find it.

    tools/mutants.py [name]...   all of them, or these; `./x build mutants` first
    tools/mutants.py --markdown  the table of docs/testing.md

First the tests that are named here must pass without a bug. Then, with each bug, the one that is named for it must
fail, after coming to the place of the bug; if it does not, all the others are tried. The last line is
`mutants killed N of M`; a bug that no test finds is a failure. `--self-test` checks that the lists agree.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "src/base/mutant.h"
TESTS = ROOT / "build/mutants/tests"
DOCUMENT = ROOT / "docs/testing.md"
WORKERS = 2
SECONDS_MAX = 120  # a test that hangs has found the bug, too

# mutant: (program, filter of its tests)
KILLERS = {
    "kEntryChecksumIgnored": ("format_test", "Entry.EverySingleBitFlipIsDetected"),
    "kEntryLengthIgnored": ("format_test", "Entry.IsTruncatedAtEveryShorterLength"),
    "kPlaceWithoutCache": ("format_test", "Identity.EveryBitOfAPlaceChangesTheSeed"),
    "kPlaceWithoutOffset": ("format_test", "Entry.NeverVerifiesInAnotherPlace"),
    "kPlaceWithoutGeneration": ("format_test", "Footer.NeverVerifiesInAnotherPlace"),
    "kBatchHeaderChecksumIgnored": ("format_test", "BatchHeader.EverySingleBitFlipIsDetected"),
    "kBatchDigestIgnored": ("format_test", "EntryWalker.CountAndDigestMustBothBeTheHeaders"),
    "kWalkEndsAtDamage": ("format_test", "EntryWalker.DamageToOneEntryHidesNoOther"),
    "kFooterRecordsUnchecked": ("format_test", "Footer.EverySingleBitFlipIsDetectedExceptInThePadding"),
    "kChunkOfAnyGeneration": ("format_test", "CheckpointChunk.OfAnotherNumberOrGenerationIsRefused"),
    "kAnyVersionAccepted": ("format_test", "Superblock.AnotherVersionIsToldFromDamageByItsChecksum"),
    "kSuperblockChecksumIgnored": ("format_test", "Superblock.EverySingleBitFlipIsDetected"),
    "kUnalignedAccepted": ("disk_test", "*InvalidRequestsAreRefusedAndNothingOfTheirBatchIsStarted*"),
    "kBounceNotCopied": ("disk_test", "*TheConvenientCallsTakeMemoryOfAnyAlignment*"),
    "kShortTransferAccepted": ("disk_test", "SystemCalls.ATransferOfFewerBytesGoesOnBehindThem"),
    "kInterruptIsAnError": ("disk_test", "SystemCalls.AnInterruptedSyncIsDoneAgainAndAFailedOneIsNot"),
    "kShortCompletionAccepted": ("disk_test", "*RequestsBehindTheEndOfAFileThatWasCutFailAndTheOthersDoNot/Uring"),
    "kFileNotLocked": ("disk_test", "OpenDisk.AFileHasOneUserAtATimeWhateverNameItComesBy"),
    "kGapOffByOne": ("batch_test", "MergeReads.GapsUpToTheLimitAreBridgedAndNotAByteMore"),
    "kEarlierWriteWins": ("batch_test", "MergeWrites.ALaterWriteInsideAnEarlierOneLeavesBothItsEnds"),
    "kPaddingNotZeroed": ("batch_test", "WriteBuffer.PaddingIsZeroAlsoInMemoryThatWasUsedBefore"),
    "kHiddenRangeRead": ("batch_test", "BatchIO.WhatIsBeingFilledIsNotThereAndHeadersReadAsZeros"),
    "kEdgesNotRead": ("batch_test", "BatchIO.UnalignedWritesKeepTheirNeighboursAndOnlyEdgeBlocksAreRead"),
    "kWritesPassEachOther": ("batch_test", "BatchIO.WritesOfTheSameBlocksDoNotPassEachOther"),
    "kFailedBufferDropped": ("batch_test", "BatchIO.AFailureTakesEveryBufferUnderWayBackAndAllAreWrittenAgain"),
    "kRequestErrorIgnored": ("batch_test", "BatchIO.AFullDiskIsReportedAsSuch"),
    "kSyncSkipped": ("contracts_test", "Durability.AFlushMakesEverythingBeforeItDurable"),
    "kSyncBeforeWrites": ("batch_test", "BatchIOOfEightBytes.TheThreeWritesOfTheSpecificationReachTheDeviceAsOneWriteAndOneSync"),
    "kSyncCoversLater": ("batch_test", "BackgroundSync.MakesNothingDurableThatIsStillBeingWritten"),
    "kOnlySyncedAgain": ("batch_test", "BatchIO.AFailedSyncIsFollowedByAllWritesAndOnlyThenByTheNextSync"),
    "kReadsNotRepeated": ("batch_test", "BatchIO.AReadDuringWhichItsBlockIsDestroyedByAFailedWriteIsDoneAgain"),
    "kFillingBufferNotRead": ("batch_test", "BatchIO.PendingBytesAreServedWithoutTheDevice"),
    "kBadSectorSpreads": ("batch_test", "BatchIO.ABadSectorFailsOnlyTheRequestsThatNeedIt"),
    "kAcknowledgedWhenSealed": ("cache_concurrency_test", "*FailureOf.ADirectStoreSaysSoAndTheOldValueIsServed*"),
    "kBatchSaysItIsDurable": ("contracts_test", "RecoveryTest.ATornBatchIsJudgedTheSameEachTimeItIsOpened"),
    "kFailedStoreStaysVisible": ("cache_concurrency_test", "*FailureOf.ADirectStoreSaysSoAndTheOldValueIsServed*"),
    "kFailedStoreStaysInBatch": ("cache_concurrency_test", "*FailureOf.ADirectStoreSaysSoAndTheOldValueIsServed*"),
    "kFailedStoreStaysInFooter": ("cache_concurrency_test", "Failure.AWithdrawnStoreIsNotInTheFooterOfItsSegment"),
    "kSameBatchAfterClear": ("contracts_test", "Lifetime.ClearIsDurableAndWhatFollowsItStays"),
    "kReusedBeforeCheckpoint": ("contracts_test", "SupersededCheckpoint.ASegmentWrittenSinceIsNotReusedBeforeTheNext"),
    "kReusedBeforeCopies": ("index_test", "SegmentLogTest.ASegmentIsNotReusedBeforeWhatWasCopiedFromItIsDurable"),
    "kCutOffBatchCounts": ("contracts_test", "RecoveryTest.ATornBatchIsJudgedTheSameEachTimeItIsOpened"),
    "kBatchBehindAGapCounts": ("crash_test", "Crash.AfterAPowerCut*"),
    "kGivenUpBatchCounts": ("cache_concurrency_test", "Failure.ABatchThatWasPlacedElsewhereDoesNotCountAnyMore"),
    "kReplayUnordered": ("contracts_test", "EvictionTest.TheLaterOfTwoWritesInDifferentStreamsCountsAfterACrash"),
    "kRemovesNotReplayed": ("contracts_test", "Durability.ARemoveIsDurableOnReturnAndOneOfNothingIsFine"),
    "kFooterTrusted": ("crash_test", "Crash.AfterAPowerCut*"),
    "kClearedIsReplayed": ("contracts_test", "Lifetime.ClearIsDurableAndWhatFollowsItStays"),
    "kCheckpointReplayedAgain": ("contracts_test", "Rot.AfterAnOrderlyCloseIsAMissAndNeverTheOlderValue"),
    "kScanEndsAtBadBlock": ("contracts_test", "RecoveryTest.ARebuildDoesNotServeWhatARottenSegmentSuperseded"),
    "kOlderLifeAccepted": ("contracts_test", "RecoveryTest.AScanFindsThePartsOfTheNewestLifeOnly"),
    "kOlderCheckpointChosen": ("contracts_test", "SupersededCheckpoint.ASegmentWrittenSinceIsNotReusedBeforeTheNext"),
    "kBrokenLogAccepted": ("contracts_test", "SupersededCheckpoint.IsNotUsedIfTheNewerIsLost"),
    "kReusedSlotsKept": ("contracts_test", "CheckpointTest.SlotsIntoSegmentsThatWereReusedSinceAreDropped"),
    "kNumbersUsedAgain": ("contracts_test", "CutOff.BatchesBehindALostFirstBlockAreNotContinuedByTheNextLife"),
    "kUnreadableIgnored": ("contracts_test", "RecoveryTest.WhatCannotBeReadForGoodMakesOpenFailUnlessThatIsAccepted"),
    "kCutOffNotErased": ("contracts_test", "CutOff.ABatchThatWasCutOffDoesNotCountWhenItsSegmentHasBeenSealedEither"),
    "kCutOffFooterStays": ("contracts_test", "CutOff.TheFooterThatWasWrittenWithABatchThatWasCutOffDoesNotCount"),
    "kOpeningNotNoted": ("contracts_test", "CutOff.BatchesBehindALostFirstBlockAreNotContinuedByTheNextLife"),
    "kClockForgotten": ("contracts_test", "Lifetime.AClockSetBackRevivesNothing"),
    "kShrunkDeviceAccepted": ("contracts_test", "Superblocks.AnotherSizeOrIdOrGeometryIsRefused"),
    "kChunksNotSynced": ("contracts_test", "CheckpointTest.ItsChunksAreDurableBeforeItsHeaderIsWritten"),
    "kCheckpointNotSynced": ("contracts_test", "CheckpointTest.IsDurableWhenItCounts"),
    "kCheckpointBeforeItsData": ("contracts_test", "LargeCheckpoint.PointsToNothingThatAPowerCutMayLose"),
    "kDisturbanceIgnored": ("contracts_test", "LargeCheckpoint.IsGivenUpIfAStoreIsWithdrawnMeanwhile"),
    "kNewestCheckpointOverwritten": ("contracts_test", "CheckpointTest.APowerCutWhileItIsWrittenLeavesTheOneBefore"),
    "kReplayBeginsTooLate": ("contracts_test", "RecoveryTest.RecoveringTwiceGivesTheSameIndex"),
    "kClearForgetsLoads": ("async_test", "Loads.AClearDuringTheLoadIsNotUndone"),
    "kFailedClearNotSettled": ("contracts_test", "Lifetime.AFailedClearRemovesNothingAndWhatFollowsItIsDurable"),
    "kClearInOneCopy": ("contracts_test", "Lifetime.AClearOutlivesTheLossOfEitherSuperblock"),
    "kDictionaryNotCompared": ("contracts_test", "DictionaryTest.OlderOnesServeUntilTheirSlotIsTaken"),
    "kHintsNotLoaded": ("contracts_test", "EvictionTest.WhatHasGoneIsRememberedAcrossAnOrderlyCloseOnly"),
    "kHintsAfterACrash": ("contracts_test", "EvictionTest.WhatHasGoneIsRememberedAcrossAnOrderlyCloseOnly"),
    "kHintsOfOlderCheckpoint": ("contracts_test", "EvictionTest.WhatWasRememberedAtTheLastOfManyClosesCounts"),
    "kUnsoundHintsKept": ("contracts_test", "EvictionTest.HintsThatMakeNoSenseAreLeftOut"),
    "kEarnedCopiesForgotten": ("contracts_test", "EvictionTest.WhatMayBeCopiedIsKnownAcrossAnOrderlyClose"),
    "kUrgentHasNoTurn": ("cache_concurrency_test", "UrgentTest.TheNextTurnToFlushIsTheirs"),
    "kUrgentStarvesOthers": ("cache_concurrency_test", "UrgentTest.AStreamOfThemDoesNotKeepOthersFromFlushing"),
    "kUrgentNotStarted": ("cache_concurrency_test", "UrgentTest.ABufferedOneIsOnItsWayWhenTheCallReturns"),
    "kBatchesStayLarge": ("cache_concurrency_test", "UrgentTest.BatchesAreSmallWhileUrgentStoresComeAndLargeAgainAfterwards"),
    "kBatchesStaySmall": ("cache_concurrency_test", "UrgentTest.BatchesAreSmallWhileUrgentStoresComeAndLargeAgainAfterwards"),
    "kOlderSuperblockChosen": ("contracts_test", "CutOff.BatchesBehindALostFirstBlockAreNotContinuedByTheNextLife"),
    "kSuperblockInPlace": ("contracts_test", "Lifetime.AClearOutlivesTheLossOfEitherSuperblock"),
    "kSuperblockNotSynced": ("contracts_test", "Lifetime.ClearIsDurableAndWhatFollowsItStays"),
    "kExpiredCopied": ("contracts_test", "EvictionTest.WhatHasExpiredIsNotCopied"),
    "kCopyOverwritesNewer": ("contracts_test", "EvictionTest.ACopyNeverTakesThePlaceOfWhatWasStoredMeanwhile"),
    "kCopyCountsAsNew": ("contracts_test", "EvictionTest.ACopyKeepsItsSequenceAndItsLife"),
    "kEvictedNotErased": ("contracts_test", "Limits.EvictionsAreCountedAndComeNoSoonerThanPublished"),
    "kMovedNotTold": ("contracts_test", "MemoryTest.HitsInMemoryKeepAnEntryOnTheDevice"),
    "kTagNotCompared": ("index_test", "IndexTest.WhatWasPutIsFoundAndNothingElse"),
    "kGapNotFilled": ("index_test", "IndexTest.BehavesLikeAMapThroughGrowthAndGaps"),
    "kReplaceWhateverIsThere": ("index_test", "IndexTest.BehavesLikeAMapThroughGrowthAndGaps"),
    "kErasedRangeHasHoles": ("index_test", "IndexTest.EraseRangeEmptiesExactlyTheSlotsOfASegment"),
    "kKeyNotCompared": ("contracts_test", "Limits.KeysThatShareASlotEvictEachOtherAndNeverAnswerForEachOther"),
    "kExpiryIgnored": ("contracts_test", "Lifetime.EntriesExpireAtTheirSecondAndNotBefore"),
    "kAnswersShifted": ("contracts_test", "Traps.BatchAnswersAreThoseOfTheirKeysWhateverTheOrderOnTheDevice"),
    "kMemoryOutlivesExpiry": ("contracts_test", "MemoryTest.WhatHasExpiredIsNotFound"),
    "kMemoryIsStale": ("index_test", "MemoryTierTest.AValueIsFoundAtItsPlaceOnly"),
    "kMemoryKeyNotCompared": ("index_test", "MemoryTierTest.AKeyOfTheSameHashIsAnotherKey"),
    "kMemoryTakesOlder": ("index_test", "MemoryTierTest.AReaderThatComesTooLateDoesNotReplaceWhatIsNewer"),
    "kMemoryUnbounded": ("index_test", "MemoryTierTest.NeverHoldsMoreThanItMay"),
    "kLoadUndoesWrite": ("async_test", "Loads.AStoreDuringTheLoadIsNotOverwritten"),
    "kTwoFlightsPerKey": ("async_test", "Loads.WhoComesWhileAKeyIsBeingLoadedWaitsForThatLoad"),
    "kLoadLooksOnce": ("async_test", "Loads.WhatWasStoredBeforeTheLoadBeganToWatchIsFoundAndNotLoaded"),
}
# Where a bug is sought that its own test has not found.
WIDER = ("format_test", "batch_test", "index_test", "disk_test", "batch_io_test", "contracts_test",
         "cache_concurrency_test", "async_test", "bad_input_test", "crash_test", "fault_test")


class Mutant:
    def __init__(self, number, name, words):
        self.number = number
        self.name = name
        self.words = words  # what it breaks


def read_list(text):
    """The mutants in the order of the enumeration, whose first one is none."""
    body = re.search(r"enum class Mutant[^{]*\{(.*?)\};", text, re.S).group(1)
    names = re.findall(r"^\s*(k\w+),(?:\s*///<\s*(.*))?$", body, re.M)
    return [Mutant(number, name, words) for number, (name, words) in enumerate(names) if number > 0]


def run(program, tests, number, seconds_max=SECONDS_MAX):
    """(whether a test failed, whether it came to the bug, what it said)."""
    with tempfile.TemporaryDirectory() as folder:
        reached = pathlib.Path(folder) / "reached"
        environment = dict(os.environ, RAWCACHE_MUTANT=str(number), RAWCACHE_MUTANT_REACHED=str(reached))
        command = [str(TESTS / program), f"--gtest_filter={tests}", "--gtest_fail_fast", "--gtest_brief=1"]
        try:
            ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, timeout=seconds_max,
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
            failed, said = ended.returncode != 0, ended.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired:
            failed, said = True, "it did not end"
        return failed, reached.exists(), said


def first_failed(said):
    found = re.search(r"^\[  FAILED  \] ([\w./]+)", said, re.M)
    return found.group(1) if found else "it stopped"


def kill(mutant):
    """(killed, what killed it, seconds)."""
    started = time.monotonic()
    program, tests = KILLERS[mutant.name]
    failed, reached, _ = run(program, tests, mutant.number)
    words = f"{program} {tests}"
    if not (failed and reached):
        why = "passes" if reached else "does not come to it"
        for other in WIDER:
            failed, reached, said = run(other, "*", mutant.number, 10 * SECONDS_MAX)
            if failed and reached:
                words = f"{other} {first_failed(said)}, while {words} {why}"
                break
        else:
            failed, words = False, f"SURVIVES: {words} {why}"
    return failed and reached, words, time.monotonic() - started


def check_unmutated(mutants):
    """What is wrong with the named tests when there is no bug."""
    filters = {}
    for mutant in mutants:
        program, tests = KILLERS[mutant.name]
        filters.setdefault(program, set()).add(tests)
    problems = []
    for program, tests in sorted(filters.items()):
        failed, _, said = run(program, ":".join(sorted(tests)), 0)
        if failed:
            problems.append(f"{program} fails without a bug: {first_failed(said)}\n{said[-2000:]}")
        for test in tests:
            listed = subprocess.run([str(TESTS / program), "--gtest_list_tests", f"--gtest_filter={test}"],
                                    capture_output=True, text=True).stdout
            if not re.search(r"^  ", listed, re.M):
                problems.append(f"{program} has no test {test}")
    return problems


def markdown(mutants):
    lines = ["| mutant | what it breaks | found by |", "|---|---|---|"]
    for mutant in mutants:
        program, tests = KILLERS[mutant.name]
        lines.append(f"| {mutant.name[1:]} | {mutant.words} | {program} `{tests}` |")
    return "\n".join(lines) + "\n"


def self_test():
    mutants = read_list(LIST.read_text())
    names = [mutant.name for mutant in mutants]
    problems = [f"{name} has no test in KILLERS" for name in names if name not in KILLERS]
    problems += [f"{name} of KILLERS is no mutant" for name in KILLERS if name not in names]
    problems += [f"{mutant.name} does not say what it breaks" for mutant in mutants if not mutant.words]
    sources = "".join(file.read_text() for file in sorted((ROOT / "src").rglob("*.cc")))
    tests = "".join(file.read_text() for file in sorted((ROOT / "tests").rglob("*_test.cc")))
    for name in names:
        if f"mutated(Mutant::{name})" not in sources:
            problems.append(f"{name} is nowhere in src")
        test = re.search(r"(\w+?)\*?(/.*)?$", KILLERS.get(name, ("", ".none"))[1].split(".")[-1]).group(1)
        if f"{test}" not in tests:
            problems.append(f"{name}: there is no test {test}")
    if not problems and markdown(mutants) not in DOCUMENT.read_text():
        problems.append("the table of docs/testing.md is not that of --markdown")
    sample = read_list("enum class Mutant : int {\n  kNone,\n\n  // X\n  kA,  ///< a\n  kB,  ///< b c\n};")
    if [(m.number, m.name, m.words) for m in sample] != [(1, "kA", "a"), (2, "kB", "b c")]:
        problems.append("the list is not read as it is written")
    print("\n".join(problems + [f"self-test: {'wrong' if problems else 'ok'}"]))
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/testing.md")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    mutants = read_list(LIST.read_text())
    if arguments.markdown:
        print(markdown(mutants), end="")
        return 0
    if arguments.names:
        mutants = [mutant for mutant in mutants if {mutant.name, mutant.name[1:]} & set(arguments.names)]
    if not (TESTS / WIDER[0]).exists():
        print("build first: ./x build mutants")
        return 1
    if problems := check_unmutated(mutants):
        print("\n".join(problems))
        return 1
    killed = 0
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for mutant, (dead, words, seconds) in zip(mutants, pool.map(kill, mutants)):
            killed += dead
            print(f"{mutant.name:<30}{seconds:>6.1f} s  {words}", flush=True)
    print(f"mutants killed {killed} of {len(mutants)}")
    return 0 if killed == len(mutants) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())

// Planted bugs, to show that the tests can fail. Only the preset `mutants` has them:
// tools/mutants.py chooses one at a time when it runs the tests, and wants the one that is named
// for it to fail. In every other build `mutated` is false when compiling.
#pragma once

#include <cstdint>

namespace rawcache {

/// What is broken. tools/mutants.py reads this list.
enum class Mutant : std::uint8_t {
  kNone,

  // Format
  kEntryChecksumIgnored,        ///< an entry whose checksum is wrong is an entry
  kEntryLengthIgnored,          ///< an entry may be longer than the bytes that are there
  kPlaceWithoutCache,           ///< a checksum does not cover which cache it is of
  kPlaceWithoutOffset,          ///< a checksum does not cover where on the disk it is
  kPlaceWithoutGeneration,      ///< a checksum does not cover the life of the segment
  kBatchHeaderChecksumIgnored,  ///< a damaged batch header is believed
  kBatchDigestIgnored,          ///< a batch is whole whatever its entries are
  kWalkEndsAtDamage,            ///< entries behind a damaged one are not found
  kFooterRecordsUnchecked,      ///< a footer's records are not checked
  kChunkOfAnyGeneration,        ///< a chunk of an older checkpoint is taken for one of this
  kAnyVersionAccepted,          ///< a superblock of a later format is read as one of this
  kSuperblockChecksumIgnored,   ///< a damaged superblock is believed

  // Disk
  kUnalignedAccepted,        ///< I/O at any offset is passed on
  kBounceNotCopied,          ///< reads into unaligned memory leave it as it was
  kShortTransferAccepted,    ///< a short read or write counts as all of it
  kInterruptIsAnError,       ///< a sync that a signal has interrupted has failed
  kShortCompletionAccepted,  ///< a short completion of io_uring counts as all of it
  kFileNotLocked,            ///< two caches may have one file open

  // Batch
  kGapOffByOne,           ///< reads are merged over a gap of one byte too many
  kEarlierWriteWins,      ///< of two buffered writes of a byte the earlier reaches the disk
  kPaddingNotZeroed,      ///< padding carries old bytes to the disk
  kHiddenRangeRead,       ///< reads see bytes that are still being filled
  kEdgesNotRead,          ///< the rest of a block that is written in part becomes zeros
  kWritesPassEachOther,   ///< two writes of a block are under way at once
  kFailedBufferDropped,   ///< what could not be written is forgotten
  kRequestErrorIgnored,   ///< a write that failed counts as written
  kSyncSkipped,           ///< a flush does not sync
  kSyncBeforeWrites,      ///< a flush syncs before its writes are done
  kSyncCoversLater,       ///< a sync counts for what was written after it began
  kOnlySyncedAgain,       ///< after a failed sync another one is enough
  kReadsNotRepeated,      ///< reads see what a partly written block leaves meanwhile
  kFillingBufferNotRead,  ///< what is buffered is read from the disk
  kBadSectorSpreads,      ///< a bad sector fails every read that was merged with its own

  // Log and commit
  kAcknowledgedWhenSealed,    ///< a store is acknowledged before its batch is synced
  kBatchSaysItIsDurable,      ///< a batch's header says that the batch itself was durable
  kFailedStoreStaysVisible,   ///< what a failed store was to replace does not come back
  kFailedStoreStaysInBatch,   ///< a failed store becomes durable by a later flush
  kFailedStoreStaysInFooter,  ///< a footer lists a store that was withdrawn
  kSameBatchAfterClear,       ///< a clear uses the number of a batch that it has dropped
  kReusedBeforeCheckpoint,    ///< a segment is reused while a checkpoint points into it
  kReusedBeforeCopies,        ///< a segment is reused before the copies from it are durable

  // Recovery
  kCutOffBatchCounts,        ///< a batch of which parts are missing counts
  kBatchBehindAGapCounts,    ///< a batch counts although the one before it is missing
  kGivenUpBatchCounts,       ///< a batch that was given up and placed elsewhere counts
  kReplayUnordered,          ///< entries are replayed as they lie, not as they were written
  kRemovesNotReplayed,       ///< what was removed is there again after a crash
  kFooterTrusted,            ///< the footer of a segment that was not durable is believed
  kClearedIsReplayed,        ///< what was cleared is there again after a crash
  kCheckpointReplayedAgain,  ///< the open segment is replayed over a checkpoint that contains it
  kBrokenLogAccepted,        ///< an older checkpoint is used where the log since it has a gap
  kScanEndsAtBadBlock,       ///< what lies behind a bad block of a segment is not found
  kOlderLifeAccepted,        ///< batches of an earlier life of a segment are taken for its own
  kOlderCheckpointChosen,    ///< the older of two checkpoints is used
  kReusedSlotsKept,          ///< a checkpoint's slots into segments reused since are kept
  kNumbersUsedAgain,         ///< after a crash the numbers of lost batches are used again
  kUnreadableIgnored,        ///< blocks that recovery could not read are passed over
  kCutOffNotErased,          ///< a batch that was cut off stays where a later recovery finds it
  kCutOffFooterStays,        ///< ... or the footer that was written with it
  kOpeningNotNoted,          ///< a life that left no visible trace is taken for none
  kClockForgotten,           ///< a clock that was set back revives what had expired
  kShrunkDeviceAccepted,     ///< a device that has become smaller is opened

  // Checkpoint
  kChunksNotSynced,              ///< a checkpoint's header may reach the disk before its chunks
  kCheckpointNotSynced,          ///< segments are reused before the new checkpoint is durable
  kCheckpointBeforeItsData,      ///< a checkpoint points to entries that are not durable
  kDisturbanceIgnored,           ///< a checkpoint points to a store that has been withdrawn
  kNewestCheckpointOverwritten,  ///< a checkpoint is written over the newest one
  kReplayBeginsTooLate,          ///< the first batch after a checkpoint is not replayed

  // Clear
  kClearForgetsLoads,      ///< a load that was under way undoes a clear
  kFailedClearNotSettled,  ///< a clear that failed happens after a crash
  kClearInOneCopy,         ///< a clear is undone by the loss of one superblock

  // Dictionaries
  kDictionaryNotCompared,  ///< a value is decompressed with another dictionary in its slot

  // Hints
  kHintsNotLoaded,          ///< what eviction remembers is forgotten by an orderly close
  kHintsAfterACrash,        ///< what eviction remembered before a crash is believed after it
  kHintsOfOlderCheckpoint,  ///< the hints of the older of two checkpoints are believed
  kUnsoundHintsKept,        ///< hints are believed as far as they make sense
  kEarnedCopiesForgotten,   ///< what eviction may copy is forgotten by an orderly close

  // Urgent stores
  kUrgentHasNoTurn,      ///< who is urgent waits for a turn to flush like everybody else
  kUrgentStarvesOthers,  ///< nobody else has a turn while urgent stores come
  kUrgentNotStarted,     ///< an urgent buffered store waits until its batch is full
  kBatchesStayLarge,     ///< much may be ahead of an urgent store
  kBatchesStaySmall,     ///< batches stay small when no urgent stores come any more

  // Superblock
  kOlderSuperblockChosen,  ///< the older of two superblocks is used
  kSuperblockInPlace,      ///< the superblock that counts is overwritten
  kSuperblockNotSynced,    ///< a superblock is relied on before it is durable

  // Eviction
  kExpiredCopied,        ///< what has expired is kept by eviction
  kCopyOverwritesNewer,  ///< a copy takes the place of what was stored meanwhile
  kCopyCountsAsNew,      ///< a copy is newer than what was stored after the original
  kEvictedNotErased,     ///< the index still points into a segment that was freed
  kMovedNotTold,         ///< the memory tier does not learn that an entry was copied

  // Index
  kTagNotCompared,          ///< any entry of a page is taken for the one that is sought
  kGapNotFilled,            ///< entries behind a removed one are not found any more
  kReplaceWhateverIsThere,  ///< a slot is set that somebody else has set meanwhile
  kErasedRangeHasHoles,     ///< slots that move while a segment is evicted stay

  // Lookups and the memory tier
  kKeyNotCompared,        ///< a key is answered with the value of another of its hash
  kExpiryIgnored,         ///< what has expired is still served
  kAnswersShifted,        ///< the answers of a batch go to other keys of it
  kMemoryOutlivesExpiry,  ///< what has expired is still served from memory
  kMemoryIsStale,         ///< memory serves what was overwritten or removed
  kMemoryKeyNotCompared,  ///< memory answers with the value of another key of the hash
  kMemoryTakesOlder,      ///< a slow reader puts an older value over a newer one
  kMemoryUnbounded,       ///< memory takes in more than it may

  // Loads
  kLoadUndoesWrite,   ///< a load overwrites what was stored while it fetched
  kTwoFlightsPerKey,  ///< a key is loaded as often as it is asked for
  kLoadLooksOnce,     ///< a load does not see what was stored before it was on watch
};

/// Whether this is the bug to be shown. For .cc files of the library only.
#if defined(RAWCACHE_MUTANTS)
bool mutated(Mutant mutant);
#else
consteval bool mutated(Mutant) { return false; }
#endif

}  // namespace rawcache

// Package redrive processes again what a stage of a recorded run gave up on, in a
// run of its own.
//
// The recorded run is the [Origin]. Its [Letters] are the records on the ports dead
// and failed of one stage. [Narrow] cuts a flow to that stage and what follows from
// it: the inputs of the letters enter through a source of their own, and tables that
// the stages left join with come from the origin, too. Every record that is read from
// it is a copy and says of which record.
//
// Nothing is written to the origin. Which letters a run takes is in its manifest
// ([journal.Redrive]), so that others can tell; [Taken] adds them up.
package redrive

// Stage is the name of the source that the inputs enter through. Its port is "out",
// and record n there is the input of letter n.
const Stage = "redrive"

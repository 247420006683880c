package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// NewServer serves the provider over Terraform's protocol. All text for people passes through it,
// the framework's text too: it escapes what a terminal would obey (terminal.go), and bounds the
// size of a diagnostic.
func NewServer(p *Provider) tfprotov6.ProviderServer {
	return protocolServer{providerserver.NewProtocol6(p)()}
}

// newLogger returns a logger for code that does not know Terraform. It is the only way to the log,
// which belongs to the context of each logging call.
func newLogger() *slog.Logger { return slog.New(logHandler{}) }

// A logHandler writes to Terraform's log, which decides what to keep. The names of attributes are
// constants.
type logHandler struct {
	prefix string // of the names of attributes
	attrs  []slog.Attr
}

func (logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(slices.Clip(h.attrs), slog.Attr{Key: h.prefix, Value: slog.GroupValue(attrs...)})
	return h
}

func (h logHandler) WithGroup(name string) slog.Handler {
	h.prefix = join(h.prefix, name)
	return h
}

func (h logHandler) Handle(ctx context.Context, record slog.Record) error {
	fields := map[string]any{}
	for _, attr := range h.attrs {
		addFields(fields, "", attr)
	}
	record.Attrs(func(attr slog.Attr) bool {
		addFields(fields, h.prefix, attr)
		return true
	})
	write := tflog.Debug
	switch {
	case record.Level >= slog.LevelError:
		write = tflog.Error
	case record.Level >= slog.LevelWarn:
		write = tflog.Warn
	case record.Level >= slog.LevelInfo:
		write = tflog.Info
	}
	write(ctx, oneLine(record.Message), fields)
	return nil
}

// addFields adds an attribute, or the attributes of a group. Text becomes one line.
func addFields(fields map[string]any, prefix string, attr slog.Attr) {
	name, value := join(prefix, attr.Key), attr.Value.Resolve()
	switch value.Kind() {
	case slog.KindGroup:
		for _, member := range value.Group() {
			addFields(fields, name, member)
		}
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64:
		fields[name] = value.Any()
	default:
		fields[name] = oneLine(value.String())
	}
}

func join(prefix, name string) string {
	if prefix == "" || name == "" {
		return prefix + name
	}
	return prefix + "." + name
}

// call calls a method. A method that panics fails by itself: the process lives on, and with it the
// results that other resources have yet to record.
func call[Q, A any](ctx context.Context, method func(context.Context, *Q) (*A, error), req *Q) (answer *A, err error) {
	defer func() {
		if why := recover(); why != nil {
			logPanic(ctx, why)
			answer, err = new(A), nil
			addFailure(answer, "The provider failed", fmt.Sprintf("This is a bug of the provider: %v. The operation may be done in part: plan again to see the current state. "+
				"Report it at %s with the configuration, and with \"panic\" and \"stack\" from the log (set TF_LOG_PROVIDER=ERROR to see them).", why, issues))
			fitAnswer(answer)
		}
	}()
	return fit(method(ctx, req))
}

const issues = "https://github.com/terraform-stitch/terraform-provider-stitch/issues"

// logPanic also logs where the panic happened. Its lines are names of functions and files.
func logPanic(ctx context.Context, why any) {
	stack := shorten(string(debug.Stack()), detailBytes)
	tflog.Error(ctx, "panic: "+oneLine(fmt.Sprint(why)), map[string]any{"stack": escape(stack, "\n\t")})
}

// addFailure puts an error into an answer, in the form that the answer has for errors.
func addFailure(answer any, summary, detail string) {
	for i, fields := 0, reflect.ValueOf(answer).Elem(); i < fields.NumField(); i++ {
		switch field := fields.Field(i).Addr().Interface().(type) {
		case *[]*tfprotov6.Diagnostic:
			*field = append(*field, &tfprotov6.Diagnostic{Severity: tfprotov6.DiagnosticSeverityError, Summary: summary, Detail: detail})
		case **tfprotov6.FunctionError:
			*field = &tfprotov6.FunctionError{Text: summary + ". " + detail}
		case *string:
			*field = summary + ". " + detail
		}
	}
}

// fit makes the answer of a method safe for a terminal.
func fit[A any](answer *A, err error) (*A, error) {
	if answer != nil {
		fitAnswer(answer)
	}
	if err != nil {
		if text := oneLine(err.Error()); text != err.Error() {
			err = errors.New(text)
		}
	}
	return answer, err
}

// fitAnswer finds the text for people in an answer: the protocol has three forms of it.
func fitAnswer(answer any) {
	for i, fields := 0, reflect.ValueOf(answer).Elem(); i < fields.NumField(); i++ {
		switch field := fields.Field(i).Addr().Interface().(type) {
		case *[]*tfprotov6.Diagnostic:
			*field = fitDiagnostics(*field)
		case **tfprotov6.FunctionError:
			if *field != nil {
				*field = &tfprotov6.FunctionError{Text: oneLine((*field).Text), FunctionArgument: (*field).FunctionArgument}
			}
		case *string: // why the provider does not stop
			*field = oneLine(*field)
		}
	}
}

// fitDiagnostics leaves the paths of attributes unchanged: Terraform finds the lines of the
// configuration by them, and prints those lines.
func fitDiagnostics(all []*tfprotov6.Diagnostic) []*tfprotov6.Diagnostic {
	clean := make([]*tfprotov6.Diagnostic, 0, len(all))
	for _, d := range all {
		if d != nil {
			clean = append(clean, &tfprotov6.Diagnostic{Severity: d.Severity, Summary: oneLine(d.Summary), Detail: paragraphs(d.Detail), Attribute: d.Attribute})
		}
	}
	return clean
}

// A protocolServer does not embed the next server, so that it does not compile when the protocol
// gains a method that it lacks.
type protocolServer struct{ next tfprotov6.ProviderServer }

func (s protocolServer) GetMetadata(ctx context.Context, req *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	return call(ctx, s.next.GetMetadata, req)
}

func (s protocolServer) GetProviderSchema(ctx context.Context, req *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return call(ctx, s.next.GetProviderSchema, req)
}

func (s protocolServer) GetResourceIdentitySchemas(ctx context.Context, req *tfprotov6.GetResourceIdentitySchemasRequest) (*tfprotov6.GetResourceIdentitySchemasResponse, error) {
	return call(ctx, s.next.GetResourceIdentitySchemas, req)
}

func (s protocolServer) ValidateProviderConfig(ctx context.Context, req *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return call(ctx, s.next.ValidateProviderConfig, req)
}

func (s protocolServer) ConfigureProvider(ctx context.Context, req *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return call(ctx, s.next.ConfigureProvider, req)
}

func (s protocolServer) StopProvider(ctx context.Context, req *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return call(ctx, s.next.StopProvider, req)
}

func (s protocolServer) ValidateResourceConfig(ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return call(ctx, s.next.ValidateResourceConfig, req)
}

func (s protocolServer) UpgradeResourceState(ctx context.Context, req *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return call(ctx, s.next.UpgradeResourceState, req)
}

func (s protocolServer) UpgradeResourceIdentity(ctx context.Context, req *tfprotov6.UpgradeResourceIdentityRequest) (*tfprotov6.UpgradeResourceIdentityResponse, error) {
	return call(ctx, s.next.UpgradeResourceIdentity, req)
}

func (s protocolServer) ReadResource(ctx context.Context, req *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return call(ctx, s.next.ReadResource, req)
}

func (s protocolServer) PlanResourceChange(ctx context.Context, req *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	return call(ctx, s.next.PlanResourceChange, req)
}

func (s protocolServer) ApplyResourceChange(ctx context.Context, req *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	return call(ctx, s.next.ApplyResourceChange, req)
}

func (s protocolServer) ImportResourceState(ctx context.Context, req *tfprotov6.ImportResourceStateRequest) (*tfprotov6.ImportResourceStateResponse, error) {
	return call(ctx, s.next.ImportResourceState, req)
}

func (s protocolServer) MoveResourceState(ctx context.Context, req *tfprotov6.MoveResourceStateRequest) (*tfprotov6.MoveResourceStateResponse, error) {
	return call(ctx, s.next.MoveResourceState, req)
}

func (s protocolServer) GenerateResourceConfig(ctx context.Context, req *tfprotov6.GenerateResourceConfigRequest) (*tfprotov6.GenerateResourceConfigResponse, error) {
	return call(ctx, s.next.GenerateResourceConfig, req)
}

func (s protocolServer) ValidateDataResourceConfig(ctx context.Context, req *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return call(ctx, s.next.ValidateDataResourceConfig, req)
}

func (s protocolServer) ReadDataSource(ctx context.Context, req *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	return call(ctx, s.next.ReadDataSource, req)
}

func (s protocolServer) ValidateEphemeralResourceConfig(
	ctx context.Context, req *tfprotov6.ValidateEphemeralResourceConfigRequest,
) (*tfprotov6.ValidateEphemeralResourceConfigResponse, error) {
	return call(ctx, s.next.ValidateEphemeralResourceConfig, req)
}

func (s protocolServer) OpenEphemeralResource(ctx context.Context, req *tfprotov6.OpenEphemeralResourceRequest) (*tfprotov6.OpenEphemeralResourceResponse, error) {
	return call(ctx, s.next.OpenEphemeralResource, req)
}

func (s protocolServer) RenewEphemeralResource(ctx context.Context, req *tfprotov6.RenewEphemeralResourceRequest) (*tfprotov6.RenewEphemeralResourceResponse, error) {
	return call(ctx, s.next.RenewEphemeralResource, req)
}

func (s protocolServer) CloseEphemeralResource(ctx context.Context, req *tfprotov6.CloseEphemeralResourceRequest) (*tfprotov6.CloseEphemeralResourceResponse, error) {
	return call(ctx, s.next.CloseEphemeralResource, req)
}

func (s protocolServer) GetFunctions(ctx context.Context, req *tfprotov6.GetFunctionsRequest) (*tfprotov6.GetFunctionsResponse, error) {
	return call(ctx, s.next.GetFunctions, req)
}

func (s protocolServer) CallFunction(ctx context.Context, req *tfprotov6.CallFunctionRequest) (*tfprotov6.CallFunctionResponse, error) {
	return call(ctx, s.next.CallFunction, req)
}

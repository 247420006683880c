package provider

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// NewServer serves the provider in Terraform's protocol. All text for people passes
// through here, the framework's too: what a terminal would obey is escaped
// (terminal.go), and a diagnostic has a bounded size.
func NewServer(p *Provider) tfprotov6.ProviderServer {
	return protocolServer{providerserver.NewProtocol6(p)()}
}

// logInfo is the one way to the log. The names of fields are constants.
func logInfo(ctx context.Context, message string, fields ...map[string]any) {
	clean := map[string]any{}
	for _, some := range fields {
		for name, value := range some {
			switch value := value.(type) {
			case string:
				clean[name] = oneLine(value)
			case error, fmt.Stringer:
				clean[name] = oneLine(fmt.Sprint(value))
			default:
				clean[name] = value
			}
		}
	}
	tflog.Info(ctx, oneLine(message), clean)
}

// fit makes what a method answers fit for a terminal.
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

// fitAnswer finds what an answer says to people: the protocol has three forms of it.
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

// fitDiagnostics leaves the paths of attributes as they are: Terraform finds the
// lines of the configuration by them, and prints those.
func fitDiagnostics(all []*tfprotov6.Diagnostic) []*tfprotov6.Diagnostic {
	clean := make([]*tfprotov6.Diagnostic, 0, len(all))
	for _, d := range all {
		if d != nil {
			clean = append(clean, &tfprotov6.Diagnostic{Severity: d.Severity, Summary: oneLine(d.Summary), Detail: paragraphs(d.Detail), Attribute: d.Attribute})
		}
	}
	return clean
}

// A protocolServer does not embed the next server, so that it does not compile when
// the protocol gets a method that it lacks.
type protocolServer struct{ next tfprotov6.ProviderServer }

func (s protocolServer) GetMetadata(ctx context.Context, req *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	return fit(s.next.GetMetadata(ctx, req))
}

func (s protocolServer) GetProviderSchema(ctx context.Context, req *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return fit(s.next.GetProviderSchema(ctx, req))
}

func (s protocolServer) GetResourceIdentitySchemas(ctx context.Context, req *tfprotov6.GetResourceIdentitySchemasRequest) (*tfprotov6.GetResourceIdentitySchemasResponse, error) {
	return fit(s.next.GetResourceIdentitySchemas(ctx, req))
}

func (s protocolServer) ValidateProviderConfig(ctx context.Context, req *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return fit(s.next.ValidateProviderConfig(ctx, req))
}

func (s protocolServer) ConfigureProvider(ctx context.Context, req *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return fit(s.next.ConfigureProvider(ctx, req))
}

func (s protocolServer) StopProvider(ctx context.Context, req *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return fit(s.next.StopProvider(ctx, req))
}

func (s protocolServer) ValidateResourceConfig(ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return fit(s.next.ValidateResourceConfig(ctx, req))
}

func (s protocolServer) UpgradeResourceState(ctx context.Context, req *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return fit(s.next.UpgradeResourceState(ctx, req))
}

func (s protocolServer) UpgradeResourceIdentity(ctx context.Context, req *tfprotov6.UpgradeResourceIdentityRequest) (*tfprotov6.UpgradeResourceIdentityResponse, error) {
	return fit(s.next.UpgradeResourceIdentity(ctx, req))
}

func (s protocolServer) ReadResource(ctx context.Context, req *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return fit(s.next.ReadResource(ctx, req))
}

func (s protocolServer) PlanResourceChange(ctx context.Context, req *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	return fit(s.next.PlanResourceChange(ctx, req))
}

func (s protocolServer) ApplyResourceChange(ctx context.Context, req *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	return fit(s.next.ApplyResourceChange(ctx, req))
}

func (s protocolServer) ImportResourceState(ctx context.Context, req *tfprotov6.ImportResourceStateRequest) (*tfprotov6.ImportResourceStateResponse, error) {
	return fit(s.next.ImportResourceState(ctx, req))
}

func (s protocolServer) MoveResourceState(ctx context.Context, req *tfprotov6.MoveResourceStateRequest) (*tfprotov6.MoveResourceStateResponse, error) {
	return fit(s.next.MoveResourceState(ctx, req))
}

func (s protocolServer) GenerateResourceConfig(ctx context.Context, req *tfprotov6.GenerateResourceConfigRequest) (*tfprotov6.GenerateResourceConfigResponse, error) {
	return fit(s.next.GenerateResourceConfig(ctx, req))
}

func (s protocolServer) ValidateDataResourceConfig(ctx context.Context, req *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return fit(s.next.ValidateDataResourceConfig(ctx, req))
}

func (s protocolServer) ReadDataSource(ctx context.Context, req *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	return fit(s.next.ReadDataSource(ctx, req))
}

func (s protocolServer) ValidateEphemeralResourceConfig(
	ctx context.Context, req *tfprotov6.ValidateEphemeralResourceConfigRequest,
) (*tfprotov6.ValidateEphemeralResourceConfigResponse, error) {
	return fit(s.next.ValidateEphemeralResourceConfig(ctx, req))
}

func (s protocolServer) OpenEphemeralResource(ctx context.Context, req *tfprotov6.OpenEphemeralResourceRequest) (*tfprotov6.OpenEphemeralResourceResponse, error) {
	return fit(s.next.OpenEphemeralResource(ctx, req))
}

func (s protocolServer) RenewEphemeralResource(ctx context.Context, req *tfprotov6.RenewEphemeralResourceRequest) (*tfprotov6.RenewEphemeralResourceResponse, error) {
	return fit(s.next.RenewEphemeralResource(ctx, req))
}

func (s protocolServer) CloseEphemeralResource(ctx context.Context, req *tfprotov6.CloseEphemeralResourceRequest) (*tfprotov6.CloseEphemeralResourceResponse, error) {
	return fit(s.next.CloseEphemeralResource(ctx, req))
}

func (s protocolServer) GetFunctions(ctx context.Context, req *tfprotov6.GetFunctionsRequest) (*tfprotov6.GetFunctionsResponse, error) {
	return fit(s.next.GetFunctions(ctx, req))
}

func (s protocolServer) CallFunction(ctx context.Context, req *tfprotov6.CallFunctionRequest) (*tfprotov6.CallFunctionResponse, error) {
	return fit(s.next.CallFunction(ctx, req))
}
